/*
 * A video memory library in ordinary memory. Compiled with -DFAIL_x, entry point x fails; with
 * -DWITHOUT_x it is missing; -DMAX=n is how many bytes there are. With -DFAIL_CLOSE, preloaded, it
 * is a system whose dlclose fails.
 */
#include <stdlib.h>
#include "vram.h"

#ifndef MAX
#define MAX (16u << 20)
#endif
#define SLOTS 4096

static void* blocks[SLOTS];

#ifdef FAIL_CLOSE
int dlclose(void* handle) {
    (void) handle;
    return -1;
}
#endif

#ifndef WITHOUT_INIT
uint32_t native_region_init(void) {
#ifdef FAIL_INIT
    return 7;
#endif
    return 0;
}
#endif

#ifndef WITHOUT_GETMAX
uint32_t native_region_get_max(void) {
    return MAX;
}
#endif

#ifndef WITHOUT_ALLOC
uint32_t native_region_alloc(uint32_t size) {
#ifndef FAIL_ALLOC
    for (uint32_t handle = 1; handle < SLOTS; handle++) {
        if (blocks[handle] == NULL) {
            blocks[handle] = malloc(size);
            return blocks[handle] == NULL ? VRAM_INVALID_HANDLE : handle;
        }
    }
#endif
    return VRAM_INVALID_HANDLE;
}
#endif

#ifndef WITHOUT_FREE
uint32_t native_region_free(uint32_t handle) {
#ifdef FAIL_FREE
    return 3;
#endif
    free(blocks[handle]);
    blocks[handle] = NULL;
    return 0;
}
#endif

#ifndef WITHOUT_LOCK
void* native_region_lock(uint32_t handle) {
#ifdef FAIL_LOCK
    return NULL;
#endif
    return blocks[handle];
}
#endif

#ifndef WITHOUT_UNLOCK
uint32_t native_region_unlock_handle(uint32_t handle) {
    (void) handle;
#ifdef FAIL_UNLOCK
    return 4;
#endif
    return 0;
}
#endif

#ifndef WITHOUT_UNINIT
uint32_t native_region_uninit(void) {
#ifdef FAIL_UNINIT
    return 5;
#endif
    return 0;
}
#endif
