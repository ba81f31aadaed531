// Round trips over the kernel's TCP, with as little of its own in between as possible.
//
//   tcp_ping serve PORT              echoes what each connection sends; prints "ready port=PORT"
//   tcp_ping ping HOST PORT COUNT    one byte there and back, COUNT times -> {"p50Ms":...,"p99Ms":...}
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// Round trips before the first that counts: the session and the caches warm up.
#define WARM_UP 50
#define COUNT_MAX 100000

static void die(const char *what) {
  perror(what);
  exit(1);
}

static int tcp_socket(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  return fd;
}

static void no_delay(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void *echo(void *argument) {
  int fd = (int)(long)argument;
  char buffer[4096];
  no_delay(fd);
  for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) {
    if (write(fd, buffer, n) != n) break;
  }
  close(fd);
  return NULL;
}

static void serve(int port) {
  int fd = tcp_socket(), on = 1;
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&any, sizeof any) < 0) die("bind");
  if (listen(fd, 16) < 0) die("listen");
  socklen_t length = sizeof any;
  getsockname(fd, (struct sockaddr *)&any, &length);
  printf("ready port=%d\n", ntohs(any.sin_port));
  fflush(stdout);
  for (;;) {
    int client = accept(fd, NULL, NULL);
    if (client < 0) continue;
    pthread_t thread;
    if (pthread_create(&thread, NULL, echo, (void *)(long)client) == 0) pthread_detach(thread);
    else close(client);
  }
}

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static int ping(const char *host, int port, int count) {
  static double times[COUNT_MAX];
  if (count < 1 || count > COUNT_MAX) {
    fprintf(stderr, "COUNT is from 1 to %d\n", COUNT_MAX);
    return 2;
  }
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (inet_pton(AF_INET, host, &to.sin_addr) != 1) {
    fprintf(stderr, "not an IPv4 address: %s\n", host);
    return 2;
  }
  int fd = tcp_socket();
  no_delay(fd);
  if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) die("connect");
  for (int i = -WARM_UP; i < count; i++) {
    char byte = 0;
    double from = now_ms();
    if (write(fd, &byte, 1) != 1) die("write");
    if (read(fd, &byte, 1) != 1) die("read");
    if (i >= 0) times[i] = now_ms() - from;
  }
  qsort(times, count, sizeof *times, ascending);
  printf("{\"p50Ms\":%.4f,\"p99Ms\":%.4f}\n", times[(count - 1) / 2], times[(int)((count - 1) * 0.99)]);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "serve") == 0) serve(atoi(argv[2]));
  if (argc == 5 && strcmp(argv[1], "ping") == 0) return ping(argv[2], atoi(argv[3]), atoi(argv[4]));
  fprintf(stderr, "usage: tcp_ping serve PORT | ping HOST PORT COUNT\n");
  return 2;
}
