/* A null server: reads whole HTTP/1.1 requests, answers each with the same small JSON, counts them.
 *
 *   null_server COUNTS_FILE PORT [SCRIPT]
 *
 * One thread, one epoll, 127.0.0.1. Port 0 takes a free one; the port is printed on one line. The
 * first 16 bytes of COUNTS_FILE are two native 64-bit counters, requests answered and body bytes
 * read, shared by mmap: a reader costs the server nothing. SIGTERM ends it.
 *
 * Bodies are drained by recv(MSG_TRUNC), which on TCP on Linux (tcp(7)) throws bytes away without
 * copying them, so that the server is not what is measured.
 *
 * SCRIPT gives every request a service time of its own, any number of them side by side:
 * `fixed` 5 ms; `mix` 5, 20 and 50 ms for 90, 8 and 2 of each 100, shuffled; `stall` 5 ms, and for
 * 500 ms of every 5 s no service time passes. The truth of each request then follows the counters
 * in the file: the CLOCK_MONOTONIC nanoseconds when its body was complete and when its reply was sent.
 *
 * `chunks` answers at once, with a reply of 2,000 chunks that takes a client far longer to read than
 * it takes this server to send: what several clients share is their own work.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_BYTES = 8192, EVENTS = 256, DRAIN_BYTES = 1 << 22, DESCRIPTORS = 65536, LOGGED = 1 << 20 };
enum { CHUNKS = 2000 };
enum { MS = 1000000, EVERY_MS = 5000, STALL_MS = 500, WAITING = 4096 };

typedef struct {
    long long body_left; /* of the request whose head has been read */
    int head_bytes;
    char head[HEAD_BYTES];
} Connection;

typedef struct {
    volatile uint64_t requests;
    volatile uint64_t body_bytes;
    struct {
        int64_t body_ns, sent_ns;
    } truth[]; /* only of a scripted server, LOGGED of them */
} Counts;

typedef struct {
    int64_t due_ns, body_ns;
    int descriptor;
    Connection *connection; /* to know that the descriptor is still the same connection's */
} Service;

static const char REPLY[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                            "Content-Length: 41\r\n\r\n"
                            "{\"predictions\": [1, 2, 3, 4, 5, 6, 7, 8]}";
static const char CHUNKED[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                              "Transfer-Encoding: chunked\r\n\r\n";
static const char CONTINUE[] = "HTTP/1.1 100 Continue\r\n\r\n";

static Connection *connections[DESCRIPTORS];
static Counts *counts;
static Service waiting[WAITING]; /* by due time, the next one last */
static int waits, timer = -1;
static const char *script, *reply = REPLY;
static size_t reply_bytes = sizeof REPLY - 1;

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* SIGTERM: nothing to tidy up, the counters are in the file already. */
static void end(int signal_number) {
    (void)signal_number;
    _exit(0);
}

static Counts *map_counts(const char *path, size_t bytes) {
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, (off_t)bytes) < 0) die(path);
    void *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) die(path);
    close(file);
    return mapped;
}

static int listen_on(int port) {
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0) die("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, length) < 0) die("bind");
    if (listen(listener, 1024) < 0) die("listen");
    if (getsockname(listener, (struct sockaddr *)&address, &length) < 0) die("getsockname");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

static void watch(int poller, int descriptor) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &event) < 0) die("epoll_ctl");
}

static void accept_all(int poller, int listener) {
    int one = 1, descriptor;
    while ((descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (descriptor >= DESCRIPTORS) {
            close(descriptor);
            continue;
        }
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        connections[descriptor] = calloc(1, sizeof(Connection));
        if (!connections[descriptor]) die("calloc");
        watch(poller, descriptor);
    }
}

static void drop(int descriptor) {
    free(connections[descriptor]);
    connections[descriptor] = NULL;
    close(descriptor);
}

/* 12 KB: it fits a socket's buffer. */
static void reply_in_chunks(void) {
    char *made = malloc(sizeof CHUNKED + 6 * CHUNKS + 5), *end = made;
    if (!made) die("malloc");
    end = stpcpy(end, CHUNKED);
    for (int i = 0; i < CHUNKS; i++) end = stpcpy(end, "1\r\n8\r\n");
    end = stpcpy(end, "0\r\n\r\n");
    reply = made, reply_bytes = (size_t)(end - made);
}

/* A client that does not read its replies is given up. Counted before it is sent: who has
 * the reply must find it counted, on another core too. */
static int answer(int descriptor) {
    counts->requests++;
    if (send(descriptor, reply, reply_bytes, MSG_NOSIGNAL) == (ssize_t)reply_bytes) return 1;
    counts->requests--;
    return 0;
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* The service time of the next request: a new shuffle for each 100 of the mix. */
static int64_t service_ns(void) {
    static unsigned char order[100];
    static int used = 100;
    if (strcmp(script, "mix")) return 5 * MS;
    if (used == 100) {
        for (int i = used = 0; i < 100; i++) order[i] = i < 90 ? 5 : i < 98 ? 20 : 50;
        for (int i = 99; i > 0; i--) {
            int j = rand() % (i + 1);
            unsigned char swapped = order[i];
            order[i] = order[j], order[j] = swapped;
        }
    }
    return (int64_t)order[used++] * MS;
}

/* When `service` has passed from `from`, stalls left out: the last 500 ms of each 5 s since the first request. */
static int64_t due_after(int64_t from, int64_t service) {
    static int64_t origin;
    const int64_t every = (int64_t)EVERY_MS * MS, stall = (int64_t)STALL_MS * MS;
    if (!origin) origin = from;
    if (strcmp(script, "stall")) return from + service;
    int64_t left = every - (from - origin) % every; /* until this period's stall ends */
    if (left <= stall) return from + left + service;
    return from + service + (left - stall < service ? stall : 0);
}

static void arm(void) {
    struct itimerspec next = {0};
    if (waits) {
        next.it_value.tv_sec = waiting[waits - 1].due_ns / 1000000000LL;
        next.it_value.tv_nsec = waiting[waits - 1].due_ns % 1000000000LL;
    }
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &next, NULL);
}

/* The request is complete: answer it, now or when its service time has passed. */
static int serve(int descriptor) {
    if (!script) return answer(descriptor);
    if (waits == WAITING) return 0;
    int64_t body_ns = now_ns(), due_ns = due_after(body_ns, service_ns());
    int i = waits++;
    for (; i > 0 && waiting[i - 1].due_ns <= due_ns; i--) waiting[i] = waiting[i - 1];
    waiting[i] = (Service){due_ns, body_ns, descriptor, connections[descriptor]};
    if (i == waits - 1) arm();
    return 1;
}

static void answer_due(void) {
    uint64_t expirations;
    if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN) die("timerfd");
    while (waits && waiting[waits - 1].due_ns <= now_ns()) {
        Service done = waiting[--waits];
        uint64_t row = counts->requests;
        if (connections[done.descriptor] != done.connection || row >= LOGGED) continue;
        counts->truth[row].body_ns = done.body_ns;
        counts->truth[row].sent_ns = now_ns();
        answer(done.descriptor);
    }
    arm();
}

/* Where the value of a header field begins inside [head, end), or NULL. */
static const char *field(const char *head, const char *end, const char *name) {
    const char *found = strcasestr(head, name);
    return found && found < end ? found + strlen(name) : NULL;
}

/* Take every whole head in the buffer; return 0 when the connection is to be dropped. */
static int take_heads(int descriptor, Connection *c) {
    char *blank;
    while (!c->body_left && (blank = strstr(c->head, "\r\n\r\n"))) {
        const char *length = field(c->head, blank, "\r\ncontent-length:");
        const char *expects = field(c->head, blank, "\r\nexpect:");
        int used = (int)(blank + 4 - c->head), rest = c->head_bytes - used;
        long long body = length ? atoll(length) : 0;
        if (body < 0 || field(c->head, blank, "\r\ntransfer-encoding:")) return 0;
        if (expects && send(descriptor, CONTINUE, sizeof CONTINUE - 1, MSG_NOSIGNAL) < 0) return 0;
        long long here = body < rest ? body : rest;
        counts->body_bytes += (uint64_t)here;
        c->body_left = body - here;
        c->head_bytes = rest - (int)here;
        memmove(c->head, c->head + used + here, (size_t)c->head_bytes + 1);
        if (!c->body_left && !serve(descriptor)) return 0;
    }
    return c->head_bytes < HEAD_BYTES - 1;
}

/* Read once; return 1 to read again, 0 when there is nothing more, -1 to drop the connection. */
static int read_once(int descriptor, Connection *c) {
    ssize_t got;
    if (c->body_left) {
        size_t most = c->body_left < DRAIN_BYTES ? (size_t)c->body_left : DRAIN_BYTES;
        got = recv(descriptor, NULL, most, MSG_TRUNC);
        if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
        counts->body_bytes += (uint64_t)got;
        c->body_left -= got;
        if (c->body_left) return 1;
        return serve(descriptor) ? 0 : -1; /* no pipelining is expected: poll for the next head */
    }
    got = recv(descriptor, c->head + c->head_bytes, (size_t)(HEAD_BYTES - 1 - c->head_bytes), 0);
    if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
    c->head_bytes += (int)got;
    c->head[c->head_bytes] = 0;
    if (!take_heads(descriptor, c)) return -1;
    return c->body_left > 0;
}

int main(int count, char **words) {
    if (count < 3 || count > 4) {
        fprintf(stderr, "usage: %s COUNTS_FILE PORT [fixed|mix|stall|chunks]\n", words[0]);
        return 2;
    }
    signal(SIGTERM, end);
    script = count > 3 ? words[3] : NULL;
    if (script && !strcmp(script, "chunks")) reply_in_chunks(), script = NULL;
    counts = map_counts(words[1], sizeof(Counts) + (script ? LOGGED * sizeof counts->truth[0] : 0));
    int listener = listen_on(atoi(words[2])), poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[EVENTS];
    if (poller < 0) die("epoll_create1");
    watch(poller, listener);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer < 0) die("timerfd_create");
    watch(poller, timer);
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int descriptor = events[i].data.fd, more;
            if (descriptor == listener) {
                accept_all(poller, listener);
                continue;
            }
            if (descriptor == timer) {
                answer_due();
                continue;
            }
            while ((more = read_once(descriptor, connections[descriptor])) == 1) {}
            if (more < 0) drop(descriptor);
        }
    }
}
