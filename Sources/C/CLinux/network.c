#define _GNU_SOURCE
#include "network.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct order {
    const char *path;
    uint32_t address, gateway;
    unsigned prefix_length;
    int status;
    const char *step;
};

// A request with up to three attributes of four bytes, and the kernel's answer to it.
struct request {
    struct nlmsghdr header;
    union {
        struct ifaddrmsg address;
        struct rtmsg route;
    } body;
    char attributes[3 * RTA_SPACE(4)];
};

static void add(struct request *request, unsigned short kind, uint32_t value) {
    struct rtattr *attribute =
        (struct rtattr *)((char *)request + NLMSG_ALIGN(request->header.nlmsg_len));
    attribute->rta_type = kind;
    attribute->rta_len = RTA_LENGTH(sizeof value);
    memcpy(RTA_DATA(attribute), &value, sizeof value);
    request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + RTA_SPACE(sizeof value);
}

// Sends the request and waits for the kernel's verdict.
static int ask(int netlink, struct request *request) {
    char answer[1024];
    if (send(netlink, request, request->header.nlmsg_len, 0) < 0) return -errno;
    ssize_t length;
    do {
        length = recv(netlink, answer, sizeof answer, 0);
    } while (length < 0 && errno == EINTR);
    if (length < 0) return -errno;
    struct nlmsghdr *header = (struct nlmsghdr *)answer;
    if (!NLMSG_OK(header, (size_t)length) || header->nlmsg_type != NLMSG_ERROR ||
        header->nlmsg_len < NLMSG_LENGTH(sizeof(struct nlmsgerr))) {
        return -EPROTO;
    }
    return ((struct nlmsgerr *)NLMSG_DATA(header))->error;
}

static struct request replacing(unsigned short kind, size_t body) {
    struct request request;
    memset(&request, 0, sizeof request);
    request.header.nlmsg_len = NLMSG_LENGTH(body);
    request.header.nlmsg_type = kind;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    return request;
}

static int switch_on(int internet, const char *device) {
    struct ifreq request;
    memset(&request, 0, sizeof request);
    strncpy(request.ifr_name, device, IFNAMSIZ - 1);
    if (ioctl(internet, SIOCGIFFLAGS, &request) < 0) return -errno;
    if (request.ifr_flags & IFF_UP) return 0;
    request.ifr_flags |= IFF_UP;
    return ioctl(internet, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

static int configure(struct order *order, int internet, int netlink) {
    order->step = "switch on lo";
    int status = switch_on(internet, "lo");
    if (status) return status;
    order->step = "find eth0";
    struct ifreq device;
    memset(&device, 0, sizeof device);
    strcpy(device.ifr_name, "eth0");
    if (ioctl(internet, SIOCGIFINDEX, &device) < 0) return -errno;
    uint32_t index = (uint32_t)device.ifr_ifindex;

    order->step = "give eth0 its address";
    struct request address = replacing(RTM_NEWADDR, sizeof address.body.address);
    address.body.address.ifa_family = AF_INET;
    address.body.address.ifa_prefixlen = (unsigned char)order->prefix_length;
    address.body.address.ifa_index = index;
    add(&address, IFA_LOCAL, order->address);
    add(&address, IFA_ADDRESS, order->address);
    if ((status = ask(netlink, &address))) return status;

    order->step = "switch on eth0";
    if ((status = switch_on(internet, "eth0"))) return status;

    order->step = "set the default route";
    struct request route = replacing(RTM_NEWROUTE, sizeof route.body.route);
    route.body.route.rtm_family = AF_INET;
    route.body.route.rtm_table = RT_TABLE_MAIN;
    route.body.route.rtm_protocol = RTPROT_BOOT;
    route.body.route.rtm_scope = RT_SCOPE_UNIVERSE;
    route.body.route.rtm_type = RTN_UNICAST;
    add(&route, RTA_GATEWAY, order->gateway);
    add(&route, RTA_OIF, index);
    return ask(netlink, &route);
}

static void *enter(void *argument) {
    struct order *order = argument;
    order->step = "enter it";
    int space = open(order->path, O_RDONLY | O_CLOEXEC);
    int entered = space < 0 ? -1 : setns(space, CLONE_NEWNET);
    if (entered < 0) order->status = -errno;
    if (space >= 0) close(space);
    if (entered < 0) return NULL;
    int internet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (internet < 0 || netlink < 0) {
        order->status = -errno;
    } else {
        order->status = configure(order, internet, netlink);
    }
    if (internet >= 0) close(internet);
    if (netlink >= 0) close(netlink);
    return NULL;
}

int clinux_network_configure(const char *path, uint32_t address, unsigned prefix_length,
                             uint32_t gateway, const char **step) {
    struct order order = {
        .path = path,
        .address = htonl(address),
        .gateway = htonl(gateway),
        .prefix_length = prefix_length,
        .step = "start a thread",
    };
    // A thread of its own, which ends in that namespace: none of ours ever has to find back.
    pthread_t thread;
    int status = pthread_create(&thread, NULL, enter, &order);
    if (status == 0) {
        pthread_join(thread, NULL);
        status = order.status;
    } else {
        status = -status;
    }
    *step = order.step;
    return status;
}
