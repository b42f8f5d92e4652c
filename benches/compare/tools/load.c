/*
 * A load generator for one request, sent again and again over keep-alive connections.
 *
 *   load PORT CONNECTIONS SECONDS RATE REQUEST_FILE BODY_LENGTH
 *
 * RATE 0 is a closed loop: each connection sends its next request when the answer to the last is complete. Any other RATE is an open loop: requests
 * fall due at that many a second whatever the answers do, and a latency counts from the moment when its request fell due, so that one that
 * had to wait for a free connection shows the wait.
 *
 * Every answer must be 200 with a body of BODY_LENGTH bytes; anything else ends the program with 1. When the time is up nothing more is sent, and what
 * is under way is waited for. Prints one JSON object; times are in microseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 1024, MAX_HEAD = 8192, MAX_REQUEST = 65536, READ_SIZE = 262144, DRAIN_SECONDS = 10 };

#define SECOND 1000000000ull

struct connection {
    int fd;
    int in_body;
    size_t head_length;
    size_t body_left;
    uint64_t due;
    char head[MAX_HEAD + 1];
};

static struct connection connections[MAX_CONNECTIONS];
static struct connection *idle[MAX_CONNECTIONS]; /* a ring: the connection idle for longest is used first */
static size_t idle_first, idle_count, connection_count;

static char request[MAX_REQUEST];
static size_t request_length;
static size_t body_length;

static uint64_t *latencies;
static size_t latency_count, latency_room;

static void fail(const char *what)
{
    fprintf(stderr, "load: %s\n", what);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static void remember(uint64_t latency)
{
    if (latency_count == latency_room) {
        latency_room = latency_room ? latency_room * 2 : 1 << 16;
        latencies = realloc(latencies, latency_room * sizeof *latencies);
        if (!latencies)
            fail("out of memory");
    }
    latencies[latency_count++] = latency;
}

static void set_idle(struct connection *connection)
{
    idle[(idle_first + idle_count++) % connection_count] = connection;
}

static void send_on_idle(uint64_t due)
{
    struct connection *connection = idle[idle_first];
    idle_first = (idle_first + 1) % connection_count;
    idle_count--;
    connection->in_body = 0;
    connection->head_length = 0;
    connection->due = due;
    if (send(connection->fd, request, request_length, MSG_NOSIGNAL) != (ssize_t)request_length)
        fail("the gateway did not take the request");
}

static size_t content_length(const char *head)
{
    const char *field = strcasestr(head, "\r\ncontent-length:");
    if (!field)
        fail("an answer without content length");
    return strtoul(field + strlen("\r\ncontent-length:"), NULL, 10);
}

/* Takes received bytes. Returns 1 when they complete the answer. */
static int take(struct connection *connection, const char *bytes, size_t length)
{
    if (!connection->in_body) {
        size_t before = connection->head_length;
        size_t taken = length < MAX_HEAD - before ? length : MAX_HEAD - before;
        memcpy(connection->head + before, bytes, taken);
        connection->head_length += taken;
        connection->head[connection->head_length] = 0;
        char *end = memmem(connection->head, connection->head_length, "\r\n\r\n", 4);
        if (!end && connection->head_length == MAX_HEAD)
            fail("an answer whose head is too long");
        if (!end)
            return 0;
        end[2] = 0;
        if (strncmp(connection->head, "HTTP/1.1 200", 12) != 0) {
            fprintf(stderr, "%s", connection->head);
            fail("an answer other than 200");
        }
        connection->body_left = content_length(connection->head);
        if (connection->body_left != body_length)
            fail("an answer of another length than the one that was verified");
        connection->in_body = 1;
        length -= (size_t)(end + 4 - connection->head) - before;
    }
    if (length > connection->body_left)
        fail("more bytes than the answer should have");
    connection->body_left -= length;
    return connection->body_left == 0;
}

static void receive(struct connection *connection)
{
    static char bytes[READ_SIZE];
    ssize_t length = recv(connection->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (length < 0 && errno == EAGAIN)
        return;
    if (length <= 0)
        fail("the gateway closed the connection");
    if (take(connection, bytes, (size_t)length)) {
        remember(now() - connection->due);
        set_idle(connection);
    }
}

static void connect_all(uint16_t port, int poll)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (size_t i = 0; i < connection_count; i++) {
        int on = 1;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
            fail("cannot connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connections[i].fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) < 0)
            fail("epoll_ctl");
        set_idle(&connections[i]);
    }
}

static void wake_at(int timer, uint64_t when)
{
    struct itimerspec spec = {.it_value = {.tv_sec = (time_t)(when / SECOND), .tv_nsec = (long)(when % SECOND)}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void read_request(const char *path)
{
    int fd = open(path, O_RDONLY);
    ssize_t length = fd < 0 ? -1 : read(fd, request, sizeof request);
    if (length <= 0)
        fail("cannot read the request file");
    request_length = (size_t)length;
    close(fd);
}

static int by_size(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static double percentile_us(double share)
{
    return latency_count ? (double)latencies[(size_t)(share * (double)(latency_count - 1))] / 1e3 : 0;
}

int main(int count, char **arguments)
{
    if (count != 7) {
        fprintf(stderr, "usage: load PORT CONNECTIONS SECONDS RATE REQUEST_FILE BODY_LENGTH\n");
        return 2;
    }
    connection_count = strtoul(arguments[2], NULL, 10);
    if (connection_count < 1 || connection_count > MAX_CONNECTIONS)
        fail("the number of connections is out of range");
    uint64_t rate = strtoull(arguments[4], NULL, 10);
    read_request(arguments[5]);
    body_length = strtoul(arguments[6], NULL, 10);

    int poll = epoll_create1(EPOLL_CLOEXEC);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (poll < 0 || timer < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, timer, &event) < 0)
        fail("epoll");
    connect_all((uint16_t)atoi(arguments[1]), poll);

    uint64_t start = now();
    uint64_t stop = start + (uint64_t)(strtod(arguments[3], NULL) * (double)SECOND);
    uint64_t time = start;
    uint64_t next_due = start;
    /* The timer is what ends a closed loop and paces an open one. */
    wake_at(timer, stop);
    while (time < stop || idle_count < connection_count) {
        if (time > stop + DRAIN_SECONDS * SECOND)
            fail("answers are missing long after the end");
        if (rate == 0) {
            while (time < stop && idle_count)
                send_on_idle(now());
        } else {
            while (time < stop && idle_count && next_due <= time) {
                send_on_idle(next_due);
                next_due += SECOND / rate;
            }
            if (time < stop)
                wake_at(timer, next_due > time && next_due < stop ? next_due : stop);
        }
        struct epoll_event events[MAX_CONNECTIONS];
        int ready = epoll_wait(poll, events, MAX_CONNECTIONS, 1000);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr) {
                receive(events[i].data.ptr);
            } else {
                uint64_t expirations;
                if (read(timer, &expirations, sizeof expirations) < 0)
                    fail("timer");
            }
        }
        time = now();
    }

    qsort(latencies, latency_count, sizeof *latencies, by_size);
    printf("{\"answered\":%zu,\"seconds\":%.6f,\"p50_us\":%.3f,\"p99_us\":%.3f}\n", latency_count, (double)(time - start) / 1e9, percentile_us(0.50),
           percentile_us(0.99));
    return 0;
}
