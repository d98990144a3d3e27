/* A null server: reads whole HTTP/1.1 requests, answers each with the same small JSON, counts them.
 *
 *   null_server COUNTS_FILE PORT
 *
 * One thread, one epoll, 127.0.0.1. Port 0 takes a free one; the port is printed on one line. The
 * first 16 bytes of COUNTS_FILE are two native 64-bit counters, requests answered and body bytes
 * read, shared by mmap: a reader costs the server nothing. SIGTERM ends it.
 *
 * Bodies are drained by recv(MSG_TRUNC), which on TCP on Linux (tcp(7)) throws bytes away without
 * copying them, so that the server is not what is measured.
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
#include <unistd.h>

enum { HEAD_BYTES = 8192, EVENTS = 256, DRAIN_BYTES = 1 << 22, DESCRIPTORS = 65536 };

typedef struct {
    long long body_left; /* of the request whose head has been read */
    int head_bytes;
    char head[HEAD_BYTES];
} Connection;

typedef struct {
    volatile uint64_t requests;
    volatile uint64_t body_bytes;
} Counts;

static const char REPLY[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                            "Content-Length: 41\r\n\r\n"
                            "{\"predictions\": [1, 2, 3, 4, 5, 6, 7, 8]}";
static const char CONTINUE[] = "HTTP/1.1 100 Continue\r\n\r\n";

static Connection *connections[DESCRIPTORS];
static Counts *counts;

static void die(const char *what) {
    perror(what);
    exit(1);
}

/* SIGTERM: nothing to tidy up, the counters are in the file already. */
static void end(int signal_number) {
    (void)signal_number;
    _exit(0);
}

static Counts *map_counts(const char *path) {
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, sizeof(Counts)) < 0) die(path);
    void *mapped = mmap(NULL, sizeof(Counts), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
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

/* A client that does not read a reply of 100 bytes is given up. */
static int answer(int descriptor) {
    if (send(descriptor, REPLY, sizeof REPLY - 1, MSG_NOSIGNAL) != sizeof REPLY - 1) return 0;
    counts->requests++;
    return 1;
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
        if (!c->body_left && !answer(descriptor)) return 0;
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
        return answer(descriptor) ? 0 : -1; /* no pipelining is expected: poll for the next head */
    }
    got = recv(descriptor, c->head + c->head_bytes, (size_t)(HEAD_BYTES - 1 - c->head_bytes), 0);
    if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
    c->head_bytes += (int)got;
    c->head[c->head_bytes] = 0;
    if (!take_heads(descriptor, c)) return -1;
    return c->body_left > 0;
}

int main(int count, char **words) {
    if (count != 3) {
        fprintf(stderr, "usage: %s COUNTS_FILE PORT\n", words[0]);
        return 2;
    }
    signal(SIGTERM, end);
    counts = map_counts(words[1]);
    int listener = listen_on(atoi(words[2])), poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[EVENTS];
    if (poller < 0) die("epoll_create1");
    watch(poller, listener);
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int descriptor = events[i].data.fd, more;
            if (descriptor == listener) {
                accept_all(poller, listener);
                continue;
            }
            while ((more = read_once(descriptor, connections[descriptor])) == 1) {}
            if (more < 0) drop(descriptor);
        }
    }
}
