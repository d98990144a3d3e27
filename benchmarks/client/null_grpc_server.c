/* A null gRPC server: reads whole unary calls, answers each method with one fixed message, counts inferences.
 *
 *   null_grpc_server COUNTS_FILE PORT REPLIES_FOLDER
 *
 * One thread, one epoll, 127.0.0.1, HTTP/2 in clear text with prior knowledge (RFC 9113). Port 0
 * takes a free one; the port is printed on one line. REPLIES_FOLDER holds a file for each method,
 * under its name, with the serialised message; a method that has none is answered UNIMPLEMENTED. The
 * first 16 bytes of COUNTS_FILE are two native 64-bit counters, calls of ModelInfer answered and
 * bytes of DATA read, shared by mmap: a reader costs the server nothing. SIGTERM ends it.
 *
 * DATA are drained by recv(MSG_TRUNC), which on TCP on Linux (tcp(7)) throws bytes away without
 * copying them. As gRPC's own servers do under load, it announces large windows and frames of 4 MB.
 *
 * It announces no header table (RFC 7541), so that the path stands in every header block as it is:
 * neither gRPC's C core nor our sender uses Huffman code. CONTINUATION is not read.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
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

enum { BUFFER_BYTES = 32768, EVENTS = 256, DRAIN_BYTES = 1 << 22, DESCRIPTORS = 65536 };
enum { FRAME_HEAD = 9, PREFACE_BYTES = 24, STREAMS = 256 };
enum { METHODS = 64, NAME_BYTES = 64, NONE = -1 };
enum { DATA = 0, HEADERS = 1, SETTINGS = 4, PING = 6, WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };
enum { RENEW_BYTES = 1 << 30 };

typedef struct {
    long long data_left; /* of the DATA frame whose head has been read */
    int data_ends;       /* whether that frame ends its stream */
    uint32_t data_stream;
    int greeted, have;
    uint32_t received; /* DATA since the window was last renewed */
    struct {
        uint32_t stream;
        int method;
    } open[STREAMS];
    int opened;
    unsigned char buffer[BUFFER_BYTES];
} Connection;

typedef struct {
    volatile uint64_t requests;
    volatile uint64_t body_bytes;
} Counts;

typedef struct {
    char name[NAME_BYTES];
    unsigned char *reply;
    int bytes, places[3], placed; /* where the number of the stream is to be written */
} Method;

static const char HELLO[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
static const unsigned char GREETING[] = {
    0, 0, 18, SETTINGS, 0, 0, 0, 0, 0,
    0, 1, 0, 0, 0, 0,                   /* HEADER_TABLE_SIZE */
    0, 4, 0x7f, 0xff, 0xff, 0xff,       /* INITIAL_WINDOW_SIZE */
    0, 5, 0, 0x40, 0, 0,                /* MAX_FRAME_SIZE: 4 MiB */
    0, 0, 4, WINDOW_UPDATE, 0, 0, 0, 0, 0, 0x7f, 0xff, 0, 0, /* of the connection: to 2^31 - 1 */
};
static const char HEAD[] = "\x88\x0f\x10\x10" "application/grpc";
static const char TAIL[] = "\x00\x0bgrpc-status\x01" "0";
static const char UNKNOWN[] = "\x88\x0f\x10\x10" "application/grpc" "\x00\x0bgrpc-status\x02" "12";

static const char SERVICE[] = "/inference.GRPCInferenceService/";

static Connection *connections[DESCRIPTORS];
static Counts *counts;
static Method methods[METHODS + 1]; /* the last: every method that has no file */
static int known, infer = NONE;

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

static unsigned char *put_head(unsigned char *at, int bytes, int kind, int flags) {
    memcpy(at, (unsigned char[]){(unsigned char)(bytes >> 16), (unsigned char)(bytes >> 8),
                                 (unsigned char)bytes, (unsigned char)kind, (unsigned char)flags}, 5);
    memset(at + 5, 0, 4);
    return at + FRAME_HEAD;
}

static void put_frame(Method *method, int kind, int flags, const void *payload, int bytes) {
    method->places[method->placed++] = method->bytes + 5;
    unsigned char *at = put_head(method->reply + method->bytes, bytes, kind, flags);
    memcpy(at, payload, (size_t)bytes);
    method->bytes += FRAME_HEAD + bytes;
}

/* The whole reply of a method, its three frames, for stream 0. */
static void prepare(Method *method, const char *message, int bytes) {
    unsigned char body[16384];
    uint32_t length = htonl((uint32_t)bytes);
    if (bytes + 5 > (int)sizeof body) {
        fprintf(stderr, "the reply of %s does not fit into one frame\n", method->name);
        exit(1);
    }
    body[0] = 0;
    memcpy(body + 1, &length, 4);
    memcpy(body + 5, message, (size_t)bytes);
    if (!(method->reply = malloc(sizeof body + 256))) die("malloc");
    put_frame(method, HEADERS, END_HEADERS, HEAD, sizeof HEAD - 1);
    put_frame(method, DATA, 0, body, bytes + 5);
    put_frame(method, HEADERS, END_HEADERS | END_STREAM, TAIL, sizeof TAIL - 1);
}

static void read_replies(const char *folder) {
    DIR *opened = opendir(folder);
    struct dirent *one;
    char path[4096], message[16384];
    if (!opened) die(folder);
    while ((one = readdir(opened))) {
        if (one->d_name[0] == '.' || strlen(one->d_name) >= NAME_BYTES || known == METHODS) continue;
        snprintf(path, sizeof path, "%s/%s", folder, one->d_name);
        FILE *file = fopen(path, "rb");
        if (!file) die(path);
        int bytes = (int)fread(message, 1, sizeof message, file);
        fclose(file);
        strcpy(methods[known].name, one->d_name);
        if (!strcmp(one->d_name, "ModelInfer")) infer = known;
        prepare(&methods[known++], message, bytes);
    }
    closedir(opened);
    if (!(methods[METHODS].reply = malloc(256))) die("malloc");
    put_frame(&methods[METHODS], HEADERS, END_HEADERS | END_STREAM, UNKNOWN, sizeof UNKNOWN - 1);
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

/* A client that does not read a few KB is given up. */
static int say(int descriptor, const void *bytes, size_t count) {
    return send(descriptor, bytes, count, MSG_NOSIGNAL) == (ssize_t)count;
}

static void accept_all(int poller, int listener) {
    int one = 1, descriptor;
    while ((descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (descriptor >= DESCRIPTORS) {
            close(descriptor);
            continue;
        }
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (!(connections[descriptor] = calloc(1, sizeof(Connection)))) die("calloc");
        watch(poller, descriptor);
        say(descriptor, GREETING, sizeof GREETING);
    }
}

static void drop(int descriptor) {
    free(connections[descriptor]);
    connections[descriptor] = NULL;
    close(descriptor);
}

/* Counted before it is sent: who has the reply must find it counted, on another core too. */
static int answer(int descriptor, int which, uint32_t stream) {
    Method *method = &methods[which == NONE ? METHODS : which];
    uint32_t number = htonl(stream);
    for (int i = 0; i < method->placed; i++) memcpy(method->reply + method->places[i], &number, 4);
    if (which == infer) counts->requests++;
    if (say(descriptor, method->reply, (size_t)method->bytes)) return 1;
    if (which == infer) counts->requests--;
    return 0;
}

static int end_stream(int descriptor, Connection *c, uint32_t stream) {
    for (int i = 0; i < c->opened; i++) {
        if (c->open[i].stream != stream) continue;
        int method = c->open[i].method;
        c->open[i] = c->open[--c->opened];
        return answer(descriptor, method, stream);
    }
    return 1; /* one that was reset */
}

/* The method whose path stands in a header block, in plain text since nothing is indexed, or NONE. */
static int method_of(const unsigned char *block, int bytes) {
    const unsigned char *path = memmem(block, (size_t)bytes, SERVICE, sizeof SERVICE - 1);
    if (!path) return NONE;
    path += sizeof SERVICE - 1;
    for (int i = 0; i < known; i++) {
        int length = (int)strlen(methods[i].name); /* the byte before the path says its whole length */
        if (path[-(int)sizeof SERVICE] == sizeof SERVICE - 1 + length && path + length <= block + bytes &&
            !memcmp(path, methods[i].name, (size_t)length))
            return i;
    }
    return NONE;
}

static int take_headers(int descriptor, Connection *c, int flags, uint32_t stream, const unsigned char *block,
                        int bytes) {
    if (!(flags & END_HEADERS) || c->opened == STREAMS) return 0;
    c->open[c->opened].stream = stream;
    c->open[c->opened++].method = method_of(block, bytes);
    return flags & END_STREAM ? end_stream(descriptor, c, stream) : 1;
}

/* DATA have been taken: open the window again before half of it is used up. */
static int count_data(int descriptor, Connection *c, long long bytes) {
    unsigned char update[FRAME_HEAD + 4];
    counts->body_bytes += (uint64_t)bytes;
    c->received += (uint32_t)bytes;
    if (c->received < RENEW_BYTES) return 1;
    uint32_t more = htonl(c->received);
    memcpy(put_head(update, 4, WINDOW_UPDATE, 0), &more, 4);
    c->received = 0;
    return say(descriptor, update, sizeof update);
}

/* A frame that is whole in the buffer and is not DATA; 0 when the connection is to be dropped. */
static int take_frame(int descriptor, Connection *c, unsigned char *frame, int bytes) {
    int kind = frame[3], flags = frame[4];
    uint32_t stream;
    memcpy(&stream, frame + 5, 4);
    stream = ntohl(stream) & 0x7fffffff;
    if (kind == HEADERS) return take_headers(descriptor, c, flags, stream, frame + FRAME_HEAD, bytes);
    if (kind == PING && !(flags & ACK)) {
        frame[4] = ACK;
        return say(descriptor, frame, (size_t)(FRAME_HEAD + bytes));
    }
    if (kind == SETTINGS && !(flags & ACK)) {
        unsigned char acknowledged[FRAME_HEAD];
        put_head(acknowledged, 0, SETTINGS, ACK);
        return say(descriptor, acknowledged, sizeof acknowledged);
    }
    return 1;
}

static int finish_data(int descriptor, Connection *c) {
    return c->data_left || !c->data_ends || end_stream(descriptor, c, c->data_stream);
}

/* Take every whole frame in the buffer, and the part of a DATA frame that is there; 0: drop. */
static int take_frames(int descriptor, Connection *c) {
    int at = 0;
    while (c->have - at >= FRAME_HEAD) {
        unsigned char *frame = c->buffer + at;
        int bytes = frame[0] << 16 | frame[1] << 8 | frame[2], here = c->have - at - FRAME_HEAD;
        if (frame[3] == DATA) {
            int taken = here < bytes ? here : bytes;
            memcpy(&c->data_stream, frame + 5, 4);
            c->data_stream = ntohl(c->data_stream) & 0x7fffffff;
            c->data_ends = frame[4] & END_STREAM;
            c->data_left = bytes - taken;
            at += FRAME_HEAD + taken;
            if (!count_data(descriptor, c, taken) || !finish_data(descriptor, c)) return 0;
            continue;
        }
        if (bytes > BUFFER_BYTES - FRAME_HEAD) return 0;
        if (here < bytes) break;
        if (!take_frame(descriptor, c, frame, bytes)) return 0;
        at += FRAME_HEAD + bytes;
    }
    memmove(c->buffer, c->buffer + at, (size_t)(c->have - at));
    c->have -= at;
    return 1;
}

/* Read once; return 1 to read again, 0 when there is nothing more, -1 to drop the connection. */
static int read_once(int descriptor, Connection *c) {
    ssize_t got;
    if (c->data_left) {
        size_t most = c->data_left < DRAIN_BYTES ? (size_t)c->data_left : DRAIN_BYTES;
        got = recv(descriptor, NULL, most, MSG_TRUNC);
        if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
        c->data_left -= got;
        return count_data(descriptor, c, got) && finish_data(descriptor, c) ? 1 : -1;
    }
    /* Little at a time: what is read here of DATA is copied. */
    size_t room = BUFFER_BYTES - (size_t)c->have;
    got = recv(descriptor, c->buffer + c->have, room < 4096 ? room : 4096, 0);
    if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
    c->have += (int)got;
    if (!c->greeted) {
        if (c->have < PREFACE_BYTES) return 1;
        if (memcmp(c->buffer, HELLO, PREFACE_BYTES)) return -1;
        c->greeted = 1;
        c->have -= PREFACE_BYTES;
        memmove(c->buffer, c->buffer + PREFACE_BYTES, (size_t)c->have);
    }
    return take_frames(descriptor, c) ? 1 : -1;
}

int main(int count, char **words) {
    if (count != 4) {
        fprintf(stderr, "usage: %s COUNTS_FILE PORT REPLIES_FOLDER\n", words[0]);
        return 2;
    }
    signal(SIGTERM, end);
    counts = map_counts(words[1]);
    read_replies(words[3]);
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
