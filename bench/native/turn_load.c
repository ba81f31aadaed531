// Datagrams through a TURN relay, one client and one peer, as many as come through: a window of them is on its way at any time.
//
//   turn_load up|down CLIENT_PORT HOST PORT CHANNEL RELAYED_PORT PEER_PORT SIZE WINDOW SECONDS TRAIN
//                                   -> {"packets":...,"seconds":...,"lost":...,"bytes":...}
//
// Allocation and channel are there already: whoever made them did so from CLIENT_PORT. HOST has the relay and the relayed port. With
// TRAIN above 1 so many datagrams are handed to the kernel at once (UDP_SEGMENT), and received joined (UDP_GRO); with 1 each by itself.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SOL_UDP_ 17
#define UDP_SEGMENT_ 103
#define UDP_GRO_ 104
#define TRAIN_MAX 64
#define BATCH 64
#define SLOT 65536
#define HEADER 4
// When nothing has come for so long, what is on its way is lost.
#define LOST_NS 20000000LL

static unsigned char out[TRAIN_MAX * 2048], *in;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int udp_socket(int port, int joined) {
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), bytes = 4 << 20;
  if (fd < 0) die("socket");
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
  setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
  if (setsockopt(fd, SOL_UDP_, UDP_GRO_, &joined, sizeof joined) < 0) die("UDP_GRO");
  if (bind(fd, (struct sockaddr *)&any, sizeof any) < 0) die("bind");
  return fd;
}

// Sends `count` datagrams of `size` bytes, which lie one after another. Returns how many went out.
static int send_train(int fd, const struct sockaddr_in *to, int size, int count, int train) {
  if (train == 1) {
    struct mmsghdr headers[TRAIN_MAX];
    struct iovec vectors[TRAIN_MAX];
    for (int i = 0; i < count; i++) {
      vectors[i] = (struct iovec){out + i * size, size};
      headers[i].msg_hdr = (struct msghdr){.msg_name = (void *)to,
                                           .msg_namelen = sizeof *to,
                                           .msg_iov = &vectors[i],
                                           .msg_iovlen = 1};
    }
    int sent = sendmmsg(fd, headers, count, 0);
    return sent < 0 ? 0 : sent;
  }
  char control[CMSG_SPACE(sizeof(unsigned short))] = {0};
  struct iovec vector = {out, (size_t)size * count};
  struct msghdr header = {.msg_name = (void *)to,
                          .msg_namelen = sizeof *to,
                          .msg_iov = &vector,
                          .msg_iovlen = 1,
                          .msg_control = control,
                          .msg_controllen = sizeof control};
  struct cmsghdr *c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_UDP_;
  c->cmsg_type = UDP_SEGMENT_;
  c->cmsg_len = CMSG_LEN(sizeof(unsigned short));
  *(unsigned short *)CMSG_DATA(c) = size;
  return sendmsg(fd, &header, 0) < 0 ? 0 : count;
}

// Takes what is there. Returns the number of datagrams of `size` bytes, and fails on any other.
static int receive(int fd, int size, const unsigned char *head, int head_bytes) {
  static struct mmsghdr headers[BATCH];
  static struct iovec vectors[BATCH];
  static char controls[BATCH][64];
  for (int i = 0; i < BATCH; i++) {
    vectors[i] = (struct iovec){in + (size_t)i * SLOT, SLOT};
    headers[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i],
                                         .msg_iovlen = 1,
                                         .msg_control = controls[i],
                                         .msg_controllen = sizeof controls[i]};
  }
  int count = recvmmsg(fd, headers, BATCH, MSG_DONTWAIT, NULL), packets = 0;
  for (int i = 0; i < count; i++) {
    int length = headers[i].msg_len, segment = length;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&headers[i].msg_hdr); c != NULL;
         c = CMSG_NXTHDR(&headers[i].msg_hdr, c)) {
      if (c->cmsg_level == SOL_UDP_ && c->cmsg_type == UDP_GRO_) segment = *(int *)CMSG_DATA(c);
    }
    for (int at = 0; at < length; at += segment) {
      unsigned char *one = in + (size_t)i * SLOT + at;
      if (length - at < size || segment != size || memcmp(one, head, head_bytes) != 0) continue;
      packets++;
    }
  }
  return packets;
}

int main(int argc, char **argv) {
  if (argc != 12) return 2;
  int up = strcmp(argv[1], "up") == 0, client_port = atoi(argv[2]), port = atoi(argv[4]);
  int channel = strtol(argv[5], NULL, 0), relayed = atoi(argv[6]), peer_port = atoi(argv[7]);
  int payload = atoi(argv[8]), window = atoi(argv[9]), train = atoi(argv[11]);
  double seconds = atof(argv[10]);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(up ? port : relayed)};
  if (inet_pton(AF_INET, argv[3], &to.sin_addr) != 1 || payload < 1 || payload > 1500 ||
      train < 1 || train > TRAIN_MAX || window < TRAIN_MAX)
    return 2;
  in = malloc((size_t)BATCH * SLOT);
  int joined = train > 1, client = udp_socket(client_port, joined);
  int peer = udp_socket(peer_port, joined), sender = up ? client : peer, taker = up ? peer : client;
  unsigned char head[HEADER] = {channel >> 8, channel & 255, payload >> 8, payload & 255};
  int sent_size = up ? payload + HEADER : payload, taken_size = up ? payload : payload + HEADER;
  // The kernel hands out 64 KiB at most.
  if (train > 65000 / (payload + HEADER)) train = 65000 / (payload + HEADER);
  for (int i = 0; i < TRAIN_MAX; i++) {
    unsigned char *one = out + (size_t)i * sent_size;
    memset(one, 0x5a, sent_size);
    if (up) memcpy(one, head, HEADER);
  }
  int burst = train > 1 ? train : 32;
  long long start = now_ns(), end = start + (long long)(seconds * 1e9), now = start, heard = start;
  long long sent = 0, taken = 0, lost = 0;
  while (now < end) {
    while (sent - taken - lost + burst <= window) {
      int count = send_train(sender, &to, sent_size, burst, train);
      if (count == 0) break;
      sent += count;
    }
    struct pollfd ready = {taker, POLLIN, 0};
    poll(&ready, 1, 1);
    int count = receive(taker, taken_size, head, up ? 0 : HEADER);
    now = now_ns();
    if (count > 0) heard = now;
    taken += count;
    if (now - heard > LOST_NS) {
      lost = sent - taken;
      heard = now;
    }
  }
  double took = (now - start) / 1e9;
  printf("{\"packets\":%lld,\"seconds\":%.4f,\"lost\":%lld,\"bytes\":%lld}\n", taken, took,
         lost > 0 ? lost : 0, taken * payload);
  return 0;
}
