// Makes HTTP/1.1 requests that were written beforehand: many connections, each from an address of its own, one request of each
// on its way.
//
//   http_load HOST PORT SECONDS CONNECTIONS FILE once|again
//     -> {"calls":...,"seconds":...,"p50Us":...,"p99Us":...,"refused":...,"cpuSeconds":...,
//         "connections":...,"refusal":"..."}
//
// FILE holds requests as they go over the wire, each after its length in four bytes, little-endian. `once`: no request is made
// twice, and it ends early when there are no more. Connection i comes from 127.66.(i / 250).(1 + i % 250); where the server says
// that it closes a connection, the next request goes over a new one, as a client's would: "connections" counts them.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 2048
#define RESPONSE_MAX 65536
#define SAMPLES_MAX (1 << 22)
#define REFUSAL_MAX 160

struct caller {
  int fd;
  int number;
  int busy;
  // The server closes the connection after this answer.
  int last;
  size_t size;
  long long asked;
  char response[RESPONSE_MAX + 1];
};

static struct caller *callers;
static float samples[SAMPLES_MAX];
static const unsigned char **requests;
static size_t request_count, next_request;
static long long connections;
static struct sockaddr_in server;
static int poll_fd;
static char refusal[REFUSAL_MAX];

static void die(const char *what) {
  perror(what);
  exit(1);
}

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static unsigned length_at(const unsigned char *at) {
  return at[0] | at[1] << 8 | at[2] << 16 | (unsigned)at[3] << 24;
}

static void read_requests(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat info;
  if (fd < 0 || fstat(fd, &info) < 0) die(path);
  const unsigned char *bytes = mmap(NULL, info.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
  if (bytes == MAP_FAILED) die("mmap");
  size_t size = info.st_size, room = 0;
  for (size_t at = 0; at + 4 <= size && at + 4 + length_at(bytes + at) <= size; at += 4 + length_at(bytes + at)) {
    if (request_count == room) {
      room = room ? 2 * room : 1024;
      requests = realloc(requests, room * sizeof *requests);
      if (requests == NULL) die("realloc");
    }
    requests[request_count++] = bytes + at;
  }
  close(fd);
}

static void join(struct caller *one) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
  if (fd < 0) die("socket");
  struct sockaddr_in from = {.sin_family = AF_INET};
  from.sin_addr.s_addr =
      htonl(127u << 24 | 66u << 16 | (unsigned)(one->number / 250) << 8 | (1 + one->number % 250));
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
  if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0) die("bind");
  if (connect(fd, (struct sockaddr *)&server, sizeof server) < 0) die("connect");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0) die("fcntl");
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = one->number};
  epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
  one->fd = fd;
  one->last = 0;
  connections++;
}

// Makes the next request of a caller, if there is one.
static void ask(struct caller *one, int once) {
  one->busy = 0;
  if (next_request == request_count) {
    if (once) return;
    next_request = 0;
  }
  const unsigned char *request = requests[next_request++];
  unsigned size = length_at(request);
  one->size = 0;
  one->asked = now_ns();
  if (one->last) {
    close(one->fd);
    join(one);
  }
  // A request is far smaller than the socket's buffer, which is empty.
  if (send(one->fd, request + 4, size, MSG_NOSIGNAL) != (ssize_t)size) die("send");
  one->busy = 1;
}

static const char *header(const char *head, const char *end, const char *name) {
  size_t length = strlen(name);
  for (const char *line = head; line < end; line++) {
    line = memchr(line, '\n', end - line);
    if (line == NULL) return NULL;
    if ((size_t)(end - line) > length + 1 && strncasecmp(line + 1, name, length) == 0) return line + 1 + length;
  }
  return NULL;
}

// Where the body of a response ends; NULL while it has not all come.
static const char *end_of(const char *response, size_t size, const char **body, int *last) {
  const char *head_end = memmem(response, size, "\r\n\r\n", 4);
  if (head_end == NULL) return NULL;
  *body = head_end + 4;
  const char *closing = header(response, head_end, "connection:");
  *last = closing != NULL && strncasecmp(closing + strspn(closing, " "), "close", 5) == 0;
  const char *all = response + size, *length = header(response, head_end, "content-length:");
  if (length != NULL) {
    const char *end = *body + atol(length);
    return end <= all ? end : NULL;
  }
  if (header(response, head_end, "transfer-encoding:") == NULL) return *body;
  for (const char *at = *body;;) {
    const char *line = memmem(at, all - at, "\r\n", 2);
    if (line == NULL) return NULL;
    long chunk = strtol(at, NULL, 16);
    const char *end = line + 2 + chunk + 2;
    if (end > all) return NULL;
    if (chunk == 0) return end;
    at = end;
  }
}

static void keep_refusal(const char *response, const char *body, const char *end) {
  if (refusal[0] != 0) return;
  size_t at = 0;
  for (const char *c = response; *c != '\r' && at < 20; c++) refusal[at++] = *c;
  refusal[at++] = ' ';
  for (const char *c = body; c < end && at < REFUSAL_MAX - 1; c++) {
    if (*c >= ' ' && *c < 127 && *c != '"' && *c != '\\') refusal[at++] = *c;
  }
}

static int ascending(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  server.sin_family = AF_INET;
  int count = argc == 7 ? atoi(argv[4]) : 0;
  if (count < 1 || count > CONNECTIONS_MAX || inet_pton(AF_INET, argv[1], &server.sin_addr) != 1) {
    fprintf(stderr, "usage: http_load HOST PORT SECONDS CONNECTIONS FILE once|again\n");
    return 2;
  }
  server.sin_port = htons(atoi(argv[2]));
  double seconds = atof(argv[3]);
  int once = strcmp(argv[6], "once") == 0;
  read_requests(argv[5]);
  callers = calloc(count, sizeof *callers);
  if (callers == NULL || request_count == 0) die("no requests");
  int busy = 0;
  poll_fd = epoll_create1(EPOLL_CLOEXEC);
  for (int i = 0; i < count; i++) {
    callers[i].number = i;
    join(&callers[i]);
  }
  long long start = now_ns(), end = start + (long long)(seconds * 1e9), now = start;
  for (int i = 0; i < count; i++) {
    ask(&callers[i], once);
    busy += callers[i].busy;
  }
  long long calls = 0, refused = 0;
  while (now < end && busy > 0) {
    struct epoll_event events[256];
    int ready = epoll_wait(poll_fd, events, 256, 20);
    for (int e = 0; e < ready; e++) {
      struct caller *one = &callers[events[e].data.u32];
      ssize_t got = recv(one->fd, one->response + one->size, RESPONSE_MAX - one->size, 0);
      if (got < 0 && errno == EAGAIN) continue;
      if (got <= 0 && !one->busy) {
        epoll_ctl(poll_fd, EPOLL_CTL_DEL, one->fd, NULL);
        continue;
      }
      if (got <= 0 || !one->busy) {
        fprintf(stderr, got > 0 ? "an answer to nothing\n" : "the server closed a connection\n");
        return 1;
      }
      one->size += got;
      one->response[one->size] = 0;
      const char *body = NULL, *stop = end_of(one->response, one->size, &body, &one->last);
      if (stop == NULL) continue;
      if (strncmp(one->response + 9, "200", 3) == 0) {
        if (calls < SAMPLES_MAX) samples[calls] = (now_ns() - one->asked) / 1e3f;
        calls++;
      } else {
        refused++;
        keep_refusal(one->response, body, stop);
      }
      ask(one, once);
      if (!one->busy) busy--;
    }
    now = now_ns();
  }
  int kept = calls < SAMPLES_MAX ? calls : SAMPLES_MAX;
  qsort(samples, kept, sizeof *samples, ascending);
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
  printf("{\"calls\":%lld,\"seconds\":%.4f,\"p50Us\":%.1f,\"p99Us\":%.1f,\"refused\":%lld,\"cpuSeconds\":%.3f,\"connections\":%lld,\"refusal\":\"%s\"}\n",
         calls, (now - start) / 1e9, kept > 0 ? samples[kept / 2] : 0.0, kept > 0 ? samples[kept * 99LL / 100] : 0.0,
         refused, cpu, connections, refusal);
  return 0;
}
