/* The C peer of the Modbus bench, on libmodbus: a server, and a client that times itself.
 *   modbus_peer server PORT
 *   modbus_peer client PORT COUNT READS     prints transactions per second
 */
#include <errno.h>
#include <modbus/modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int serve(int port) {
    modbus_t *context = modbus_new_tcp("127.0.0.1", port);
    modbus_mapping_t *map = modbus_mapping_new(0, 0, 1000, 1000);
    int listener = modbus_tcp_listen(context, 4);
    if (map == NULL || listener < 0) return 1;
    for (int i = 0; i < 1000; i++) map->tab_input_registers[i] = map->tab_registers[i] = (uint16_t)i;
    puts("ready");
    fflush(stdout);
    while (modbus_tcp_accept(context, &listener) >= 0) {
        uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
        int length;
        while ((length = modbus_receive(context, query)) >= 0)
            if (length > 0) modbus_reply(context, query, length, map);
        modbus_close(context);
    }
    return 0;
}

static int ask(int port, int count, int reads) {
    modbus_t *context = modbus_new_tcp("127.0.0.1", port);
    uint16_t words[125];
    if (modbus_connect(context) < 0) return 1;
    modbus_set_slave(context, 1);
    for (int i = 0; i < 100; i++)
        if (modbus_read_input_registers(context, 0, count, words) != count) return 1;
    double began = now();
    for (int i = 0; i < reads; i++)
        if (modbus_read_input_registers(context, 0, count, words) != count) return 1;
    printf("%.1f\n", reads / (now() - began));
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "server") == 0) return serve(atoi(argv[2]));
    if (argc == 5 && strcmp(argv[1], "client") == 0)
        return ask(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
    return 2;
}
