// Asks a STUN server as many Binding requests as it answers: many sockets, several requests of each on their way.
//
//   stun_load ask HOST PORT SECONDS SOCKETS WINDOW stun|echo [SOURCES]
//                                                              -> {"answers":...,"seconds":...,"lost":...,"p50Us":...,"cpuSeconds":...}
//   stun_load echo PORT                                        sends everything back, as fast as C can; "ready port=PORT"
//
// With SOURCES, requests come from so many addresses from 127.128.0.0 on, each always by the same socket: what one address may
// ask for is limited. With `echo` for the kind, a request that comes back as it was counts as an answer, else only a success response does.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SOCKETS_MAX 1024
#define WINDOW_MAX 64
#define BATCH 64
#define HEADER 20
#define DATAGRAM 512
#define SAMPLES_MAX (1 << 20)
// A request without an answer for so long is lost; its place is taken by a new one.
#define LOST_NS 200000000LL

struct asker {
  int fd;
  unsigned source;
  unsigned round;
  long long asked[WINDOW_MAX];
  unsigned number[WINDOW_MAX];
};

static struct asker askers[SOCKETS_MAX];
static unsigned char in[BATCH][DATAGRAM], out[BATCH][HEADER];
static struct mmsghdr in_headers[BATCH], out_headers[BATCH];
static struct iovec in_vectors[BATCH], out_vectors[BATCH];
static struct sockaddr_in server;
static unsigned sources, socket_count;
static union {
  char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
  struct cmsghdr aligned;
} out_controls[BATCH];
static float samples[SAMPLES_MAX];

static void die(const char *what) {
  perror(what);
  exit(1);
}

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int udp_socket(void) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), bytes = 4 << 20;
  if (fd < 0) die("socket");
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
  return fd;
}

static void prepare(struct mmsghdr *headers, struct iovec *vectors, unsigned char *bytes, int size) {
  for (int i = 0; i < BATCH; i++) {
    vectors[i] = (struct iovec){bytes + i * size, size};
    headers[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
  }
}

// The transaction id holds the place in the window and a number that tells an old answer from a new one.
static void write_request(unsigned char *to, int place, unsigned number) {
  static const unsigned char head[8] = {0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xA4, 0x42};
  memcpy(to, head, 8);
  memset(to + 8, 0, 12);
  memcpy(to + 8, &place, 4);
  memcpy(to + 12, &number, 4);
}

// Lets a request come from the next address of its socket.
static void choose_source(struct asker *one, int i) {
  struct msghdr *header = &out_headers[i].msg_hdr;
  header->msg_name = &server;
  header->msg_namelen = sizeof server;
  header->msg_control = out_controls[i].bytes;
  header->msg_controllen = sizeof out_controls[i].bytes;
  struct cmsghdr *control = CMSG_FIRSTHDR(header);
  control->cmsg_level = IPPROTO_IP;
  control->cmsg_type = IP_PKTINFO;
  control->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
  struct in_pktinfo *info = (struct in_pktinfo *)CMSG_DATA(control);
  memset(info, 0, sizeof *info);
  info->ipi_spec_dst.s_addr = htonl((127u << 24 | 128u << 16) + one->source);
  one->source += socket_count;
  if (one->source >= sources) one->source %= socket_count;
}

static void ask(struct asker *one, const int *places, int count) {
  long long now = now_ns();
  for (int i = 0; i < count; i++) {
    int place = places[i];
    one->number[place] = ++one->round;
    one->asked[place] = now;
    write_request(out[i], place, one->round);
    if (sources > 0) choose_source(one, i);
  }
  // What does not go out is found lost later.
  sendmmsg(one->fd, out_headers, count, 0);
}

static int ascending(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static int run(int argc, char **argv) {
  if (argc != 8 && argc != 9) return 2;
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[3]))};
  double seconds = atof(argv[4]);
  int sockets = atoi(argv[5]), window = atoi(argv[6]), is_echo = strcmp(argv[7], "echo") == 0;
  if (inet_pton(AF_INET, argv[2], &to.sin_addr) != 1 || sockets < 1 || sockets > SOCKETS_MAX ||
      window < 1 || window > WINDOW_MAX || seconds <= 0)
    return 2;
  server = to;
  socket_count = sockets;
  if (argc == 9) sources = atoi(argv[8]);
  if (argc == 9 && sources < socket_count) return 2;
  prepare(in_headers, in_vectors, in[0], DATAGRAM);
  prepare(out_headers, out_vectors, out[0], HEADER);
  int poll = epoll_create1(EPOLL_CLOEXEC), places[WINDOW_MAX];
  for (int i = 0; i < window; i++) places[i] = i;
  long long start = now_ns(), end = start + (long long)(seconds * 1e9), swept = start;
  for (int i = 0; i < sockets; i++) {
    askers[i].fd = udp_socket();
    askers[i].source = i;
    // A socket that is connected hears at one address only.
    if (sources == 0 && connect(askers[i].fd, (struct sockaddr *)&to, sizeof to) < 0) die("connect");
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
    epoll_ctl(poll, EPOLL_CTL_ADD, askers[i].fd, &event);
    ask(&askers[i], places, window);
  }
  long long answers = 0, lost = 0, now = start;
  while (now < end) {
    struct epoll_event events[64];
    int ready = epoll_wait(poll, events, 64, 20);
    now = now_ns();
    for (int e = 0; e < ready; e++) {
      struct asker *one = &askers[events[e].data.u32];
      int count = recvmmsg(one->fd, in_headers, window, MSG_DONTWAIT, NULL), free_places = 0;
      for (int i = 0; i < count; i++) {
        unsigned place, number;
        memcpy(&place, in[i] + 8, 4);
        memcpy(&number, in[i] + 12, 4);
        int kind = in[i][0] << 8 | in[i][1], right = kind == (is_echo ? 0x0001 : 0x0101);
        if (in_headers[i].msg_len < HEADER || !right || place >= (unsigned)window ||
            number != one->number[place])
          continue;
        if (answers < SAMPLES_MAX) samples[answers] = (now - one->asked[place]) / 1e3f;
        answers++;
        one->number[place] = 0;
        places[free_places++] = place;
      }
      ask(one, places, free_places);
    }
    if (now - swept < LOST_NS) continue;
    swept = now;
    for (int i = 0; i < sockets; i++) {
      int late = 0;
      for (int place = 0; place < window; place++) {
        if (now - askers[i].asked[place] > LOST_NS) places[late++] = place;
      }
      lost += late;
      if (late > 0) ask(&askers[i], places, late);
    }
  }
  int kept = answers < SAMPLES_MAX ? answers : SAMPLES_MAX;
  qsort(samples, kept, sizeof *samples, ascending);
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
  printf("{\"answers\":%lld,\"seconds\":%.4f,\"lost\":%lld,\"p50Us\":%.1f,\"cpuSeconds\":%.3f}\n", answers,
         (now - start) / 1e9, lost, kept > 0 ? samples[kept / 2] : 0.0, cpu);
  return 0;
}

static void echo(int port) {
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)}, names[BATCH];
  int fd = udp_socket(), poll = epoll_create1(EPOLL_CLOEXEC);
  if (bind(fd, (struct sockaddr *)&any, sizeof any) < 0) die("bind");
  printf("ready port=%d\n", port);
  fflush(stdout);
  struct epoll_event event = {.events = EPOLLIN};
  epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
  prepare(in_headers, in_vectors, in[0], DATAGRAM);
  for (;;) {
    epoll_wait(poll, &event, 1, -1);
    for (int i = 0; i < BATCH; i++) {
      in_vectors[i].iov_len = DATAGRAM;
      in_headers[i].msg_hdr.msg_name = &names[i];
      in_headers[i].msg_hdr.msg_namelen = sizeof names[i];
    }
    int count = recvmmsg(fd, in_headers, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++) in_vectors[i].iov_len = in_headers[i].msg_len;
    if (count > 0) sendmmsg(fd, in_headers, count, 0);
  }
}

int main(int argc, char **argv) {
  int status = 2;
  if (argc > 1 && strcmp(argv[1], "ask") == 0) status = run(argc, argv);
  if (argc == 3 && strcmp(argv[1], "echo") == 0) echo(atoi(argv[2]));
  if (status == 2) fprintf(stderr, "usage: stun_load ask HOST PORT SECONDS SOCKETS WINDOW stun|echo [SOURCES] | echo PORT\n");
  return status;
}
