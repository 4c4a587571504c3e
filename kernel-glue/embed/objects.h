// What the kernel's storage holds: the objects of the core behind the types of shootdown.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/broadcast.h"
#include "core/shootdown.h"
#include "kernel-glue/embed/shootdown.h"
#include "kernel-glue/embed/tokens.h"

namespace shootdown::embed {

/// What an sd_system is.
template <Hal H>
struct EmbeddedSystem {
  System<H> core;
  [[no_unique_address]] TokenNumbers numbers;
};

/// What an sd_mm is. A copy of one, or storage that was not zeroed, does not know its own address.
template <Hal H>
struct EmbeddedMm : Mm<H> {
  /// This object while it is in use; null at first, and `kRetired` after its last flush.
  std::uintptr_t self{0};
  static constexpr std::uintptr_t kRetired = 1;
};

/// What an sd_pending is.
template <Hal H>
struct EmbeddedPending {
  PendingFlush<H, TranslationsQuiet> flush{};
  Mm<H>* mm{nullptr};
  std::uint32_t permits{0};
};

/// Makes an object in the kernel's storage, which knows that it was made.
template <class T>
struct Place {
  template <class... Arguments>
  explicit Place(Arguments&&... arguments)
      : object(std::forward<Arguments>(arguments)...), self(this) {}
  void* operator new(std::size_t /*bytes*/, void* storage) noexcept { return storage; }
  T object;
  const Place* self;
};

/// That storage of type `Storage` holds a T.
template <class T, class Storage>
struct Holds {
  static_assert(sizeof(T) == sizeof(Storage) && alignof(T) <= alignof(Storage),
                "kernel-glue/embed/sizes.h is not up to date: "
                "bazel run //tests/embed:sizes");
};

/// That every type of shootdown.h is as large as what it holds.
template <Hal H>
struct HoldsAll : Holds<EmbeddedSystem<H>, sd_system>,
                  Holds<EmbeddedMm<H>, sd_mm>,
                  Holds<ReclaimBatch<H>, sd_batch>,
                  Holds<EmbeddedPending<H>, sd_pending>,
                  Holds<Place<TemporaryMm<H>>, sd_temporary>,
                  Holds<EntryBlock<H>, sd_entry_block> {};

}  // namespace shootdown::embed
