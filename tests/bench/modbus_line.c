/* A serial slave as slow as a real line, on a pseudo-terminal of its own.
 *   modbus_line BAUD TURNAROUND_US [STALL_EVERY STALL_US]
 * Prints the terminal's path. Register a holds a. The answer starts when the request's last character
 * would have arrived, plus t3.5, plus the turnaround; each octet then takes 11 bits. On SIGTERM it
 * prints: requests, requests that came within t3.5 of the last answer, and the shortest such gap.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stopped;

static void stop(int number) {
    (void)number;
    stopped = 1;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void sleep_until(double when) {
    struct timespec t = {(time_t)when, (long)((when - (double)(time_t)when) * 1e9)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR && !stopped) {}
}

static unsigned crc16(const unsigned char *octets, int length) {
    unsigned crc = 0xFFFF;
    while (length--) {
        crc ^= *octets++;
        for (int i = 0; i < 8; i++) crc = crc & 1 ? (crc >> 1) ^ 0xA001 : crc >> 1;
    }
    return crc;
}

static int answer(const unsigned char *request, unsigned char *reply) {
    int address = request[2] << 8 | request[3], count = request[4] << 8 | request[5];
    if (count > 125) return 0;
    reply[0] = request[0];
    reply[1] = request[1];
    reply[2] = (unsigned char)(2 * count);
    for (int i = 0; i < count; i++) {
        reply[3 + 2 * i] = (unsigned char)((address + i) >> 8);
        reply[4 + 2 * i] = (unsigned char)(address + i);
    }
    unsigned crc = crc16(reply, 3 + 2 * count);
    reply[3 + 2 * count] = (unsigned char)crc;
    reply[4 + 2 * count] = (unsigned char)(crc >> 8);
    return 5 + 2 * count;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    double baud = atof(argv[1]), character = 11.0 / baud, turnaround = 1e-6 * atof(argv[2]);
    double silence = baud > 19200 ? 0.00175 : 3.5 * character;
    long stall_every = argc > 4 ? atol(argv[3]) : 0;
    double stall = argc > 4 ? 1e-6 * atof(argv[4]) : 0;
    int line = posix_openpt(O_RDWR | O_NOCTTY);
    if (line < 0 || grantpt(line) || unlockpt(line)) return 1;
    int keep = open(ptsname(line), O_RDWR | O_NOCTTY); /* so that a closed client is no hang-up */
    struct termios raw;
    tcgetattr(keep, &raw);
    cfmakeraw(&raw);
    tcsetattr(keep, TCSANOW, &raw);
    printf("%s\n", ptsname(line));
    fflush(stdout);
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);

    unsigned char request[512], reply[300];
    int have = 0;
    long requests = 0, early = 0;
    double began = 0, ended = 0, shortest = 1e9;
    struct pollfd watch = {line, POLLIN, 0};
    while (!stopped) {
        if (have < 8) {
            if (poll(&watch, 1, 100) <= 0) {
                if (have && now() - began > 0.5) have = 0;
                continue;
            }
            double at = now();
            int got = (int)read(line, request + have, sizeof request - (size_t)have);
            if (got <= 0) continue;
            if (have == 0) began = at;
            have += got;
            continue;
        }
        if (crc16(request, 6) != (unsigned)(request[6] | request[7] << 8)) {
            have = 0;
            continue;
        }
        requests++;
        if (ended > 0) {
            double gap = began - ended;
            if (gap < shortest) shortest = gap;
            if (gap < silence) early++;
        }
        int length = answer(request, reply);
        double start = began + 8 * character + silence + turnaround;
        if (stall_every && requests % stall_every == 0) start += stall;
        if (start < now()) start = now();
        for (int i = 0; i < length && !stopped; i++) {
            sleep_until(start + (i + 1) * character);
            ended = now(); /* before writing: afterwards another process may have had its turn */
            if (write(line, reply + i, 1) != 1) break;
        }
        have -= 8;
        memmove(request, request + 8, (size_t)have);
        began = ended;
    }
    printf("%ld %ld %.1f\n", requests, early, shortest * 1e6);
    return 0;
}
