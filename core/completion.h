// What is true after a flush, as types. A token is proof: only a flush makes one, and whoever
// releases memory asks for the one that permits it.
#pragma once

#include <utility>

namespace shootdown {

/// No CPU will be in user mode with a stale translation of the flushed range: each target flushes
/// before it returns there. Its kernel code may still be about to. Permits nothing to be released.
class [[nodiscard]] UserReturnClosed {
 public:
  UserReturnClosed(UserReturnClosed&&) = default;
  UserReturnClosed& operator=(UserReturnClosed&&) = default;

 private:
  // Not protected: a class derived by a caller would be a token without a flush.
  UserReturnClosed() = default;
  friend class TranslationsQuiet;
  friend struct CompletionAccess;
};

/// No CPU can use a stale translation of the flushed range. Permits releasing data frames.
class [[nodiscard]] TranslationsQuiet : public UserReturnClosed {
 public:
  TranslationsQuiet(TranslationsQuiet&&) = default;
  TranslationsQuiet& operator=(TranslationsQuiet&&) = default;

 private:
  TranslationsQuiet() = default;
  friend class WalkersQuiet;
  friend struct CompletionAccess;
};

/// Moreover no CPU, lazy or not, can walk the unhooked page tables. Permits releasing tables as
/// well.
class [[nodiscard]] WalkersQuiet : public TranslationsQuiet {
 public:
  WalkersQuiet(WalkersQuiet&&) = default;
  WalkersQuiet& operator=(WalkersQuiet&&) = default;

 private:
  WalkersQuiet() = default;
  friend struct CompletionAccess;
};

/// For the flush entry points only: makes the tokens.
struct CompletionAccess {
  static UserReturnClosed user_return_closed() { return {}; }
  static TranslationsQuiet translations_quiet() { return {}; }
  static WalkersQuiet walkers_quiet() { return {}; }
};

}  // namespace shootdown
