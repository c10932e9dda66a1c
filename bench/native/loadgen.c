/*
 * Sends the same HTTP request again and again over N keep-alive connections, one thread each, and measures.
 *
 * A request is head + body + tail. A number that is unique in the run replaces the marker wherever it stands in the
 * head (its width never changes, so Content-Length holds). Heads are handed to the connections in turn, so that each
 * can serve a job of its own. An answer must have status 200, 201 or 204 and, with --expect, hold that text.
 *
 * One connection: wait for all, warm up for --warmup seconds (at least one request), wait for all, then measure for
 * --seconds (at least one request; no more than --max-requests, warm-up included). Prints one JSON object.
 */
#define _GNU_SOURCE
#include "meter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define MAX_HEADS 256
#define ANSWER_ROOM 65536
#define ERROR_ROOM 600
/* Below this a connection keeps its request in one piece, so that it leaves in one write. */
#define ONE_PIECE (1u << 20)
#define SOCKET_TIMEOUT_SECONDS 60

static struct {
    struct sockaddr_in address;
    int connections;
    double seconds, warmup;
    uint64_t max_requests, first_id;
    const char *marker, *expect;
    Bytes heads[MAX_HEADS];
    int head_count;
    Bytes body, tail;
    SSL_CTX *tls;
    const char *tls_name;
} options;

static pthread_barrier_t all_ready;
static atomic_ullong next_id;
static atomic_int failed;
static atomic_ullong started_at;
static pthread_mutex_t error_lock = PTHREAD_MUTEX_INITIALIZER;
static char error_text[ERROR_ROOM], cipher[64];

typedef struct {
    int index, fd;
    SSL *ssl;
    char *head; /* with body and tail behind it when the request is in one piece */
    size_t head_size;
    int one_piece;
    Latencies latencies;
    uint64_t requests, ended_at;
    char answer[ANSWER_ROOM + 1];
} Connection;

/* Notes the first error of the run and makes every connection stop. */
static void fail(const char *format, ...)
{
    pthread_mutex_lock(&error_lock);
    if (!atomic_exchange(&failed, 1)) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error_text, sizeof error_text, format, arguments);
        va_end(arguments);
    }
    pthread_mutex_unlock(&error_lock);
}

static const char *tls_reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    return reason ? reason : strerror(errno);
}

static int connect_to_server(Connection *c)
{
    struct timeval patience = {.tv_sec = SOCKET_TIMEOUT_SECONDS};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(c->fd, (struct sockaddr *)&options.address, sizeof options.address) != 0) {
        fail("cannot connect: %s", strerror(errno));
        return -1;
    }
    if (options.tls == NULL)
        return 0;
    c->ssl = SSL_new(options.tls);
    SSL_set_tlsext_host_name(c->ssl, options.tls_name);
    SSL_set1_host(c->ssl, options.tls_name);
    SSL_set_fd(c->ssl, c->fd);
    if (SSL_connect(c->ssl) != 1) {
        fail("TLS handshake failed: %s", tls_reason());
        return -1;
    }
    if (c->index == 0)
        snprintf(cipher, sizeof cipher, "%s %s", SSL_get_version(c->ssl), SSL_get_cipher_name(c->ssl));
    return 0;
}

/* Writes the unique number over every marker of the head. */
static void make_unique(Connection *c, const Bytes *template)
{
    char number[32];
    size_t width = strlen(options.marker);
    unsigned long long id = options.first_id + atomic_fetch_add(&next_id, 1);
    snprintf(number, sizeof number, "%0*llu", (int)width, id);
    /* Where the markers stand is read from the template: in the copy they are overwritten. */
    for (const char *at = template->data;
         (at = memmem(at, template->size - (size_t)(at - template->data), options.marker, width)) != NULL; at += width)
        memcpy(c->head + (at - template->data), number, width);
}

static int send_tls(Connection *c, const char *data, size_t size)
{
    size_t written;
    while (size > 0) {
        ERR_clear_error();
        if (SSL_write_ex(c->ssl, data, size, &written) != 1)
            return -1;
        data += written;
        size -= written;
    }
    return 0;
}

static int send_plain(Connection *c, struct iovec *pieces, int count)
{
    while (count > 0) {
        ssize_t n = writev(c->fd, pieces, count);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        while (count > 0 && (size_t)n >= pieces->iov_len) {
            n -= (ssize_t)pieces->iov_len;
            pieces++;
            count--;
        }
        if (count > 0) {
            pieces->iov_base = (char *)pieces->iov_base + n;
            pieces->iov_len -= (size_t)n;
        }
    }
    return 0;
}

static int send_request(Connection *c)
{
    size_t whole = c->head_size + options.body.size + options.tail.size;
    struct iovec pieces[3] = {{c->head, c->one_piece ? whole : c->head_size},
                              {options.body.data, options.body.size},
                              {options.tail.data, options.tail.size}};
    int count = c->one_piece ? 1 : 3;
    if (c->ssl == NULL)
        return send_plain(c, pieces, count);
    for (int i = 0; i < count; i++)
        if (pieces[i].iov_len > 0 && send_tls(c, pieces[i].iov_base, pieces[i].iov_len) != 0)
            return -1;
    return 0;
}

/* Returns what read() would: octets, 0 at the end, -1 for an error. */
static ssize_t receive(Connection *c, char *into, size_t room)
{
    if (c->ssl == NULL) {
        ssize_t n;
        do
            n = recv(c->fd, into, room, 0);
        while (n < 0 && errno == EINTR);
        return n;
    }
    ERR_clear_error();
    int n = SSL_read(c->ssl, into, (int)room);
    if (n > 0)
        return n;
    return SSL_get_error(c->ssl, n) == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

/* Reads one answer and checks it; `sending_failed` only changes what is said when there is none. */
static int read_answer(Connection *c, int sending_failed)
{
    size_t have = 0, body_at = 0, need = 0;
    int status = 0;
    for (;;) {
        if (have == ANSWER_ROOM) {
            fail("an answer of more than %d octets", ANSWER_ROOM);
            return -1;
        }
        ssize_t n = receive(c, c->answer + have, ANSWER_ROOM - have);
        if (n <= 0) {
            fail(sending_failed ? "the server broke off while the request was sent (%s)"
                                : "no complete answer: the connection ended (%s)",
                 n == 0 ? "closed" : tls_reason());
            return -1;
        }
        have += (size_t)n;
        c->answer[have] = 0;
        if (body_at == 0) {
            char *blank = memmem(c->answer, have, "\r\n\r\n", 4);
            if (blank == NULL)
                continue;
            body_at = (size_t)(blank - c->answer) + 4;
            if (sscanf(c->answer, "HTTP/1.%*d %d", &status) != 1) {
                fail("the answer is not HTTP/1.x: %.60s", c->answer);
                return -1;
            }
            char *length = strcasestr(c->answer, "\r\nContent-Length:");
            if (length != NULL && length < blank)
                need = body_at + strtoull(length + strlen("\r\nContent-Length:"), NULL, 10);
            else if (status == 204)
                need = body_at;
            else {
                fail("status %d without Content-Length", status);
                return -1;
            }
        }
        if (have >= need)
            break;
    }
    if (have > need) {
        fail("%zu octets after the answer", have - need);
        return -1;
    }
    if (status != 200 && status != 201 && status != 204) {
        fail("status %d: %.500s", status, c->answer + body_at);
        return -1;
    }
    if (options.expect != NULL && strstr(c->answer + body_at, options.expect) == NULL) {
        fail("no %s in the answer: %.500s", options.expect, c->answer + body_at);
        return -1;
    }
    return 0;
}

/* One request and its answer; returns when it ended, 0 after an error. */
static uint64_t exchange(Connection *c, uint64_t *began)
{
    make_unique(c, &options.heads[c->index % options.head_count]);
    *began = now_ns();
    int broken = send_request(c);
    /* A server that refuses an upload may answer before all was sent: its reason is worth reading. */
    if (read_answer(c, broken) != 0)
        return 0;
    if (broken) {
        fail("the server answered before it had the whole request, and closed");
        return 0;
    }
    return now_ns();
}

static void *run_connection(void *argument)
{
    Connection *c = argument;
    const Bytes *head = &options.heads[c->index % options.head_count];
    size_t whole = head->size + options.body.size + options.tail.size;
    uint64_t began, ended;

    c->one_piece = whole <= ONE_PIECE;
    c->head_size = head->size;
    c->head = malloc(c->one_piece ? whole : head->size);
    if (c->head == NULL)
        die("no memory for a request");
    memcpy(c->head, head->data, head->size);
    if (c->one_piece) {
        memcpy(c->head + head->size, options.body.data, options.body.size);
        memcpy(c->head + head->size + options.body.size, options.tail.data, options.tail.size);
    }
    int usable = connect_to_server(c) == 0;
    pthread_barrier_wait(&all_ready);
    uint64_t until = now_ns() + (uint64_t)(options.warmup * 1e9);
    while (usable && !atomic_load(&failed)) {
        ended = exchange(c, &began);
        if (ended == 0 || ++c->requests >= options.max_requests / 2 || ended >= until)
            break;
    }
    pthread_barrier_wait(&all_ready);
    uint64_t start = now_ns(), unset = 0;
    atomic_compare_exchange_strong(&started_at, (unsigned long long *)&unset, start);
    until = start + (uint64_t)(options.seconds * 1e9);
    c->ended_at = start;
    while (usable && !atomic_load(&failed)) {
        ended = exchange(c, &began);
        if (ended == 0)
            break;
        latencies_add(&c->latencies, ended - began);
        c->ended_at = ended;
        if (++c->requests >= options.max_requests || ended >= until)
            break;
    }
    if (c->ssl != NULL) {
        SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
    }
    close(c->fd);
    free(c->head);
    return NULL;
}

static void prepare_tls(const char *ca, const char *certificate, const char *key)
{
    options.tls = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(options.tls, TLS1_3_VERSION);
    /* One cipher for every server, or the figures would compare ciphers. */
    SSL_CTX_set_ciphersuites(options.tls, "TLS_AES_256_GCM_SHA384");
    SSL_CTX_set_verify(options.tls, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_load_verify_locations(options.tls, ca, NULL) != 1)
        die("cannot use %s: %s", ca, tls_reason());
    if (certificate == NULL || SSL_CTX_use_certificate_chain_file(options.tls, certificate) != 1)
        die("cannot use the client certificate: %s", tls_reason());
    if (key == NULL || SSL_CTX_use_PrivateKey_file(options.tls, key, SSL_FILETYPE_PEM) != 1)
        die("cannot use the client key: %s", tls_reason());
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"address", 1, 0, 'a'},  {"port", 1, 0, 'p'},     {"connections", 1, 0, 'c'},  {"seconds", 1, 0, 's'},
        {"warmup", 1, 0, 'w'},   {"marker", 1, 0, 'm'},   {"max-requests", 1, 0, 'n'}, {"first-id", 1, 0, 'i'},
        {"head", 1, 0, 'h'},     {"body", 1, 0, 'b'},     {"tail", 1, 0, 't'},         {"expect", 1, 0, 'e'},
        {"tls-ca", 1, 0, 'A'},   {"tls-cert", 1, 0, 'C'}, {"tls-key", 1, 0, 'K'},      {"tls-name", 1, 0, 'N'},
        {0, 0, 0, 0},
    };
    const char *ca = NULL, *certificate = NULL, *key = NULL;
    int option;
    options.address.sin_family = AF_INET;
    options.connections = 1;
    options.seconds = 1;
    options.max_requests = UINT64_MAX;
    options.tls_name = "localhost";
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'a':
            if (inet_pton(AF_INET, optarg, &options.address.sin_addr) != 1)
                die("%s is no IPv4 address", optarg);
            break;
        case 'p': options.address.sin_port = htons((uint16_t)atoi(optarg)); break;
        case 'c': options.connections = atoi(optarg); break;
        case 's': options.seconds = atof(optarg); break;
        case 'w': options.warmup = atof(optarg); break;
        case 'm': options.marker = optarg; break;
        case 'n': options.max_requests = strtoull(optarg, NULL, 10); break;
        case 'i': options.first_id = strtoull(optarg, NULL, 10); break;
        case 'h':
            if (options.head_count == MAX_HEADS)
                die("more than %d heads", MAX_HEADS);
            options.heads[options.head_count++] = read_whole(optarg);
            break;
        case 'b': options.body = read_whole(optarg); break;
        case 't': options.tail = read_whole(optarg); break;
        case 'e': options.expect = optarg; break;
        case 'A': ca = optarg; break;
        case 'C': certificate = optarg; break;
        case 'K': key = optarg; break;
        case 'N': options.tls_name = optarg; break;
        default: exit(2);
        }
    }
    if (options.address.sin_port == 0 || options.address.sin_addr.s_addr == 0 || options.head_count == 0 ||
        options.body.data == NULL || options.marker == NULL || options.connections < 1)
        die("needs --address, --port, --marker, --head and --body");
    for (int i = 0; i < options.head_count; i++)
        if (strstr(options.heads[i].data, options.marker) == NULL)
            die("a head without the marker");
    if (ca != NULL)
        prepare_tls(ca, certificate, key);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    read_options(argc, argv);
    pthread_barrier_init(&all_ready, NULL, (unsigned)options.connections);
    Connection *connections = calloc((size_t)options.connections, sizeof *connections);
    pthread_t *threads = calloc((size_t)options.connections, sizeof *threads);
    if (connections == NULL || threads == NULL)
        die("no memory for %d connections", options.connections);
    for (int i = 0; i < options.connections; i++) {
        connections[i].index = i;
        if (pthread_create(&threads[i], NULL, run_connection, &connections[i]) != 0)
            die("cannot start thread %d", i);
    }
    Latencies all = {0};
    for (int i = 0; i < options.connections; i++)
        pthread_join(threads[i], NULL);
    uint64_t end = atomic_load(&started_at), requests = 0;
    for (int i = 0; i < options.connections; i++) {
        latencies_join(&all, &connections[i].latencies);
        requests += connections[i].requests;
        if (connections[i].ended_at > end)
            end = connections[i].ended_at;
    }
    char extra[256];
    snprintf(extra, sizeof extra, ", \"with_warmup\": %llu, \"cipher\": \"%s\", \"openssl\": \"%s\"",
             (unsigned long long)requests, cipher, OpenSSL_version(OPENSSL_VERSION));
    print_result(&all, (double)(end - atomic_load(&started_at)) / 1e9, error_text, extra);
    return atomic_load(&failed) ? 1 : 0;
}
