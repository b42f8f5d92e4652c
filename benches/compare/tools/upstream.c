/*
 * A static vendor: it checks every request to the byte and answers with bytes prepared in advance.
 *
 *   upstream PORT (PATH AUTHORIZATION BODY_FILE ANSWER_FILE)...
 *
 * A request that differs from its route in method, path, credential, content type or body is answered with 400, counted and described on
 * standard error. `GET /-/counters` tells how many requests were answered and how many differed.
 *
 * One thread, epoll, no allocation after a connection is accepted, so that it costs less than any gateway in front of it.
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
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_ROUTES = 16, MAX_EVENTS = 256, MAX_REQUEST = 8192, ARGUMENTS_PER_ROUTE = 4 };

struct text {
    const char *at;
    size_t length;
};

struct route {
    struct text path;
    struct text authorization;
    struct text body;
    struct text answer; /* head and body, ready to send */
};

struct connection {
    int fd;
    size_t received;
    struct text unsent;
    int waits_for_room;
    char request[MAX_REQUEST];
    char counters[256];
};

struct request {
    struct text method;
    struct text path;
    struct text authorization;
    struct text content_type;
    struct text body;
};

static struct route routes[MAX_ROUTES];
static size_t route_count;
static uint64_t answered;
static uint64_t mismatches;

static const char refusal[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nmismatch";

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct text text_of(const char *string)
{
    return (struct text){string, strlen(string)};
}

static int same(struct text a, struct text b)
{
    return a.length == b.length && memcmp(a.at, b.at, a.length) == 0;
}

static int same_name(struct text name, const char *wanted)
{
    return name.length == strlen(wanted) && strncasecmp(name.at, wanted, name.length) == 0;
}

static struct text trimmed(struct text value)
{
    while (value.length && *value.at == ' ') {
        value.at++;
        value.length--;
    }
    while (value.length && value.at[value.length - 1] == ' ')
        value.length--;
    return value;
}

static struct text file_contents(const char *path)
{
    int fd = open(path, O_RDONLY);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) < 0)
        die(path);
    char *bytes = malloc((size_t)info.st_size + 1);
    if (!bytes || read(fd, bytes, (size_t)info.st_size) != info.st_size)
        die(path);
    close(fd);
    return (struct text){bytes, (size_t)info.st_size};
}

static struct text with_head(struct text body)
{
    char head[256];
    int head_length = snprintf(head, sizeof head,
                               "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: vendor\r\nContent-Length: %zu\r\n\r\n", body.length);
    char *bytes = malloc((size_t)head_length + body.length);
    if (!bytes)
        die("malloc");
    memcpy(bytes, head, (size_t)head_length);
    memcpy(bytes + head_length, body.at, body.length);
    return (struct text){bytes, (size_t)head_length + body.length};
}

/* Reads one request from the start of `bytes`. Returns its length, 0 if it is not complete yet, or -1 if it is not HTTP with a known length. */
static ssize_t parse(const char *bytes, size_t length, struct request *request)
{
    const char *head_end = memmem(bytes, length, "\r\n\r\n", 4);
    if (!head_end)
        return length < MAX_REQUEST ? 0 : -1;
    const char *line_end = memmem(bytes, length, "\r\n", 2);
    const char *method_end = memchr(bytes, ' ', (size_t)(line_end - bytes));
    if (!method_end)
        return -1;
    const char *path = method_end + 1;
    const char *path_end = memchr(path, ' ', (size_t)(line_end - path));
    if (!path_end)
        return -1;
    *request = (struct request){.method = {bytes, (size_t)(method_end - bytes)}, .path = {path, (size_t)(path_end - path)}};

    size_t body_length = 0;
    for (const char *line = line_end + 2; line < head_end + 2; line = line_end + 2) {
        line_end = memmem(line, (size_t)(head_end + 2 - line), "\r\n", 2);
        const char *colon = memchr(line, ':', (size_t)(line_end - line));
        if (!colon)
            return -1;
        struct text name = {line, (size_t)(colon - line)};
        struct text value = trimmed((struct text){colon + 1, (size_t)(line_end - colon - 1)});
        if (same_name(name, "content-length"))
            body_length = strtoul(value.at, NULL, 10);
        else if (same_name(name, "content-type"))
            request->content_type = value;
        else if (same_name(name, "authorization"))
            request->authorization = value;
        else if (same_name(name, "transfer-encoding"))
            return -1;
    }
    size_t head_length = (size_t)(head_end - bytes) + 4;
    if (body_length > MAX_REQUEST - head_length)
        return -1;
    if (length < head_length + body_length)
        return 0;
    request->body = (struct text){bytes + head_length, body_length};
    return (ssize_t)(head_length + body_length);
}

static const char *difference(const struct request *request, const struct route *route)
{
    if (!same(request->method, text_of("PATCH")))
        return "method";
    if (!same(request->authorization, route->authorization))
        return "credential";
    if (!same(request->content_type, text_of("application/json")))
        return "content type";
    if (!same(request->body, route->body))
        return "body";
    return NULL;
}

static struct text counters(struct connection *connection)
{
    char body[96];
    int body_length = snprintf(body, sizeof body, "{\"answered\":%llu,\"mismatches\":%llu}", (unsigned long long)answered, (unsigned long long)mismatches);
    int length = snprintf(connection->counters, sizeof connection->counters,
                          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", body_length, body);
    return (struct text){connection->counters, (size_t)length};
}

static struct text refuse(const char *reason, struct text request)
{
    mismatches++;
    fprintf(stderr, "mismatch (%s) in the request:\n%.*s\n", reason, (int)request.length, request.at);
    return (struct text){refusal, sizeof refusal - 1};
}

static struct text answer_to(const struct request *request, struct text whole, struct connection *connection)
{
    for (size_t i = 0; i < route_count; i++) {
        if (!same(request->path, routes[i].path))
            continue;
        const char *reason = difference(request, &routes[i]);
        if (reason)
            return refuse(reason, whole);
        answered++;
        return routes[i].answer;
    }
    if (same(request->path, text_of("/-/counters")))
        return counters(connection);
    return refuse("path", whole);
}

/* Sends what is unsent; asks to be told of room in the socket where it does not take all. Returns 0 if the connection is lost. */
static int flush(int poll, struct connection *connection)
{
    while (connection->unsent.length) {
        ssize_t sent = send(connection->fd, connection->unsent.at, connection->unsent.length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return 0;
        if (sent < 0)
            break;
        connection->unsent.at += sent;
        connection->unsent.length -= (size_t)sent;
    }
    int waits = connection->unsent.length > 0;
    if (waits != connection->waits_for_room) {
        struct epoll_event event = {.events = waits ? EPOLLOUT : EPOLLIN, .data.ptr = connection};
        if (epoll_ctl(poll, EPOLL_CTL_MOD, connection->fd, &event) < 0)
            return 0;
        connection->waits_for_room = waits;
    }
    return 1;
}

/* Answers every complete request received. Returns 0 if the connection is lost. */
static int answer_received(int poll, struct connection *connection)
{
    while (!connection->unsent.length) {
        struct request request;
        ssize_t length = parse(connection->request, connection->received, &request);
        if (length == 0)
            return 1;
        if (length < 0) {
            refuse("not HTTP/1.1 with a content length", (struct text){connection->request, connection->received});
            return 0;
        }
        connection->unsent = answer_to(&request, (struct text){connection->request, (size_t)length}, connection);
        connection->received -= (size_t)length;
        memmove(connection->request, connection->request + length, connection->received);
        if (!flush(poll, connection))
            return 0;
    }
    return 1;
}

static int serve(int poll, struct connection *connection)
{
    if (connection->unsent.length)
        return flush(poll, connection) && answer_received(poll, connection);
    ssize_t received = recv(connection->fd, connection->request + connection->received, MAX_REQUEST - connection->received, 0);
    if (received < 0)
        return errno == EAGAIN;
    if (received == 0)
        return 0;
    connection->received += (size_t)received;
    return answer_received(poll, connection);
}

static void accept_one(int poll, int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection)
        die("calloc");
    connection->fd = fd;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

static int listen_on(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1024) < 0)
        die("listen");
    return fd;
}

int main(int count, char **arguments)
{
    if (count < 2 + ARGUMENTS_PER_ROUTE || (count - 2) % ARGUMENTS_PER_ROUTE || (count - 2) / ARGUMENTS_PER_ROUTE > MAX_ROUTES) {
        fprintf(stderr, "usage: upstream PORT (PATH AUTHORIZATION BODY_FILE ANSWER_FILE)...\n");
        return 2;
    }
    for (char **argument = arguments + 2; *argument; argument += ARGUMENTS_PER_ROUTE)
        routes[route_count++] = (struct route){text_of(argument[0]), text_of(argument[1]), file_contents(argument[2]), with_head(file_contents(argument[3]))};

    int listener = listen_on((uint16_t)atoi(arguments[1]));
    int poll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event) < 0)
        die("epoll");

    for (;;) {
        struct epoll_event events[MAX_EVENTS];
        int ready = epoll_wait(poll, events, MAX_EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!connection) {
                accept_one(poll, listener);
            } else if (!serve(poll, connection)) {
                close(connection->fd);
                free(connection);
            }
        }
    }
}
