// Small UDP packets, as many as the way takes.
//
//   udp_flood sink PORT SECONDS                 counts from the first packet on; "ready port=PORT", then
//                                               {"packets":...,"seconds":...}; gives up after SECONDS + 10 s of silence
//   udp_flood send HOST PORT SECONDS BYTES      -> {"packets":...,"seconds":...}
//
// The sender blocks while its socket is full, as a program does that waits for the device.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define DATAGRAM 2048

static unsigned char bytes[BATCH][DATAGRAM];
static struct mmsghdr headers[BATCH];
static struct iovec vectors[BATCH];

static void die(const char *what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static int udp_socket(void) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  return fd;
}

static void prepare(int size) {
  for (int i = 0; i < BATCH; i++) {
    vectors[i] = (struct iovec){bytes[i], size};
    headers[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
  }
}

static void print(long long packets, double seconds) {
  printf("{\"packets\":%lld,\"seconds\":%.4f}\n", packets, seconds);
}

static int sink(int port, double seconds) {
  int fd = udp_socket(), room = 16 << 20;
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
  struct timeval patience = {.tv_sec = (long)seconds + 10};
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (bind(fd, (struct sockaddr *)&any, sizeof any) < 0) die("bind");
  printf("ready port=%d\n", port);
  fflush(stdout);
  prepare(DATAGRAM);
  long long packets = 0;
  double from = 0, at = 0;
  do {
    int count = recvmmsg(fd, headers, BATCH, MSG_WAITFORONE, NULL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) die("nothing arrives");
    at = now();
    if (from == 0) from = at;
    else packets += count;
  } while (at - from < seconds);
  print(packets, at - from);
  return 0;
}

static int flood(const char *host, int port, double seconds, int size) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
  if (inet_pton(AF_INET, host, &to.sin_addr) != 1 || size < 1 || size > DATAGRAM) return 2;
  int fd = udp_socket();
  if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) die("connect");
  prepare(size);
  long long packets = 0;
  double from = now(), at = from;
  for (; at - from < seconds; at = now()) {
    int count = sendmmsg(fd, headers, BATCH, 0);
    // A full device queue and a sink that has gone both show as errors here.
    if (count > 0) packets += count;
  }
  print(packets, at - from);
  return 0;
}

int main(int argc, char **argv) {
  int status = 2;
  if (argc == 4 && strcmp(argv[1], "sink") == 0) status = sink(atoi(argv[2]), atof(argv[3]));
  if (argc == 6 && strcmp(argv[1], "send") == 0)
    status = flood(argv[2], atoi(argv[3]), atof(argv[4]), atoi(argv[5]));
  if (status == 2) fprintf(stderr, "usage: udp_flood sink PORT SECONDS | send HOST PORT SECONDS BYTES\n");
  return status;
}
