// How long a program takes from its start, as whoever starts it sees it.
//
//   start_time exit COMMAND...        until it has ended        -> {"ms":...}
//   start_time http PORT COMMAND...   until the first byte of an answer to GET / on 127.0.0.1:PORT, asked for again and
//                                     again from the start; then it is ended by SIGTERM -> {"ms":...,"stopMs":...}
//   start_time byte PORT              starts nothing: until such a byte, by the wall clock -> {"atMs":...}
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// How long the first byte may take, and how long one question waits for its answer.
#define PATIENCE_MS 20000
#define ANSWER_MS 10000
#define RETRY_US 3000
// The same for a port that somebody else opens, whose every refusal costs that program a line of its log.
#define WAIT_RETRY_US 10000

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static double wall_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static pid_t start(char **command) {
  pid_t pid = fork();
  if (pid != 0) return pid;
  int null = open("/dev/null", O_RDWR);
  dup2(null, 0);
  dup2(null, 1);
  dup2(null, 2);
  execvp(command[0], command);
  _exit(127);
}

// Whether a byte of an answer came.
static int asked(int port) {
  static const char get[] = "GET / HTTP/1.1\r\nHost: moray\r\nConnection: close\r\n\r\n";
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), answered = 0;
  if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 &&
      send(fd, get, sizeof get - 1, MSG_NOSIGNAL) > 0) {
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    char byte;
    answered = poll(&wait, 1, ANSWER_MS) > 0 && recv(fd, &byte, 1, 0) == 1;
  }
  close(fd);
  return answered;
}

// Asks a port that somebody else will open.
static int until_byte(int port) {
  double from = now_ms();
  while (!asked(port)) {
    if (now_ms() - from >= PATIENCE_MS) {
      fprintf(stderr, "no answer within %d ms\n", PATIENCE_MS);
      return 1;
    }
    usleep(WAIT_RETRY_US);
  }
  printf("{\"atMs\":%.3f}\n", wall_ms());
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "byte") == 0) return until_byte(atoi(argv[2]));
  int until_exit = argc > 2 && strcmp(argv[1], "exit") == 0;
  int until_http = argc > 3 && strcmp(argv[1], "http") == 0, status = 0;
  if (!until_exit && !until_http) {
    fprintf(stderr, "usage: start_time exit COMMAND... | http PORT COMMAND... | byte PORT\n");
    return 2;
  }
  double from = now_ms();
  pid_t pid = start(argv + (until_exit ? 2 : 3));
  if (pid < 0) {
    perror("fork");
    return 1;
  }
  if (until_exit) {
    waitpid(pid, &status, 0);
    if (status == 0) printf("{\"ms\":%.3f}\n", now_ms() - from);
    else fprintf(stderr, "the command ended with status %d\n", status);
    return status != 0;
  }
  int port = atoi(argv[2]), answered = 0;
  while (!(answered = asked(port)) && now_ms() - from < PATIENCE_MS && waitpid(pid, &status, WNOHANG) == 0)
    usleep(RETRY_US);
  double first = now_ms();
  kill(pid, SIGTERM);
  waitpid(pid, &status, 0);
  if (answered) printf("{\"ms\":%.3f,\"stopMs\":%.3f}\n", first - from, now_ms() - first);
  else fprintf(stderr, "no answer within %d ms\n", PATIENCE_MS);
  return !answered;
}
