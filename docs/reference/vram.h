/*
 * The interface of a video memory library for kvsproducer's StorageType.HYBRID_VIDEO_MEMORY.
 *
 * A device that has memory which ordinary allocations do not reach (the memory of its graphics or
 * video unit, a carve-out, a DSP's RAM) lends it to the content store through a shared library with
 * these seven functions. The names and types are those that AWS's hybrid heap loads, so a library
 * that was written for it works unchanged. Compile it with this header included, so that the
 * compiler compares the types:
 *
 *     cc -shared -fPIC -I docs/reference -o libNativeVramAlloc.so my_video_memory.c
 *
 * Calls come from one thread at a time; every call may come from another thread than the one
 * before. A function must return soon: the producer's lock is held. Sizes are in bytes.
 */
#ifndef KVSPRODUCER_VRAM_H
#define KVSPRODUCER_VRAM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VRAM_INVALID_HANDLE 0 /* what native_region_alloc returns when it fails */

/*
 * Called once, before anything else. Returns 0 for success; anything else is
 * STATUS_HEAP_VRAM_INIT_FAILED, and nothing more is called.
 */
uint32_t native_region_init(void);

/*
 * How many bytes all allocations together may have. Called once, after native_region_init. The
 * store never asks for more; when it is used up, the streams' policies for a full store apply.
 */
uint32_t native_region_get_max(void);

/*
 * Allocates `size` bytes (never 0) and returns a handle, or VRAM_INVALID_HANDLE, which is
 * STATUS_HEAP_VRAM_ALLOC_FAILED: the frame is refused. A handle is unique until it is freed.
 */
uint32_t native_region_alloc(uint32_t size);

/*
 * Frees an allocation, which is not locked. Returns 0 for success; anything else is
 * STATUS_HEAP_VRAM_FREE_FAILED, and the bytes count as used up from then on.
 */
uint32_t native_region_free(uint32_t handle);

/*
 * Makes an allocation readable and writable at the returned address until it is unlocked; its
 * content stays the same from one lock to the next. NULL is STATUS_HEAP_VRAM_MAP_FAILED.
 */
void* native_region_lock(uint32_t handle);

/*
 * Ends the use of the address. Returns 0 for success; anything else is
 * STATUS_HEAP_VRAM_UNMAP_FAILED.
 */
uint32_t native_region_unlock_handle(uint32_t handle);

/*
 * Called once, last, when all allocations were freed. Returns 0 for success; anything else is
 * STATUS_HEAP_VRAM_UNINIT_FAILED. The library is unloaded then.
 */
uint32_t native_region_uninit(void);

#ifdef __cplusplus
}
#endif

#endif
