/* How large the types of shootdown.h are, the same for every compiler. Written by
 * `bazel run //tests/embed:sizes`; the library does not compile where it is wrong. */
#pragma once

#if defined(SD_SIZES_ARE_ASKED) /* by sizes.py */
#define SD_SYSTEM_BYTES_ 64
#define SD_MM_BYTES 64
#define SD_BATCH_BYTES 64
#define SD_PENDING_BYTES 64
#define SD_TEMPORARY_BYTES 64
#define SD_ENTRY_BLOCK_BYTES 64
#elif defined(SD_ON_MODEL) /* the modelled machine */
#define SD_SYSTEM_BYTES_ 6400
#define SD_MM_BYTES 256
#define SD_BATCH_BYTES 24
#define SD_PENDING_BYTES 56
#define SD_TEMPORARY_BYTES 40
#define SD_ENTRY_BLOCK_BYTES 40
#elif SD_MAX_CPUS == 8
#define SD_SYSTEM_BYTES_ 5632
#define SD_MM_BYTES 256
#define SD_BATCH_BYTES 24
#define SD_PENDING_BYTES 56
#define SD_TEMPORARY_BYTES 40
#define SD_ENTRY_BLOCK_BYTES 32
#elif SD_MAX_CPUS == 16
#define SD_SYSTEM_BYTES_ 10240
#define SD_MM_BYTES 256
#define SD_BATCH_BYTES 24
#define SD_PENDING_BYTES 56
#define SD_TEMPORARY_BYTES 40
#define SD_ENTRY_BLOCK_BYTES 32
#elif SD_MAX_CPUS == 64
#define SD_SYSTEM_BYTES_ 62464
#define SD_MM_BYTES 256
#define SD_BATCH_BYTES 24
#define SD_PENDING_BYTES 56
#define SD_TEMPORARY_BYTES 40
#define SD_ENTRY_BLOCK_BYTES 32
#elif SD_MAX_CPUS == 256
#define SD_SYSTEM_BYTES_ 246784
#define SD_MM_BYTES 256
#define SD_BATCH_BYTES 56
#define SD_PENDING_BYTES 88
#define SD_TEMPORARY_BYTES 40
#define SD_ENTRY_BLOCK_BYTES 32
#elif SD_MAX_CPUS == 1024
#define SD_SYSTEM_BYTES_ 722112
#define SD_MM_BYTES 320
#define SD_BATCH_BYTES 152
#define SD_PENDING_BYTES 184
#define SD_TEMPORARY_BYTES 40
#define SD_ENTRY_BLOCK_BYTES 32
#elif SD_MAX_CPUS == 4096
#define SD_SYSTEM_BYTES_ 6031296
#define SD_MM_BYTES 704
#define SD_BATCH_BYTES 536
#define SD_PENDING_BYTES 568
#define SD_TEMPORARY_BYTES 40
#define SD_ENTRY_BLOCK_BYTES 32
#else
#error "SD_MAX_CPUS is 8, 16, 64, 256, 1024 or 4096"
#endif

#ifdef SD_DEBUG /* and the numbers of tokens */
#define SD_SYSTEM_BYTES (SD_SYSTEM_BYTES_ + 1024)
#else
#define SD_SYSTEM_BYTES SD_SYSTEM_BYTES_
#endif
