// The orders of a path's operations that a compiler may choose.
#include <bitset>
#include <utility>

#include "hal/host/cxx_memory.h"
#include "litmus/compiler.h"

namespace shootdown::host::litmus {

namespace {

constexpr std::size_t kMostOperations = 512;
constexpr std::size_t kMostOrders = 5000;
constexpr std::size_t kMostForwarded = 12;
using Set = std::bitset<kMostOperations>;
using Kind = OperationKind;

bool may_be_same_word(const Operation& a, const Operation& b) {
  return !a.address || !b.address || *a.address == *b.address;
}

/// A fence of C++ that lets operations pass in one direction.
bool is_one_way(const Operation& one) {
  return one.kind == Kind::barrier && one.made.op == Op::light_fence &&
         one.made.order != std::memory_order_relaxed;
}
bool only_stores(const Operation& one) { return one.kind == Kind::store || one.made.stores_only; }
/// Nothing behind it rises above it.
bool holds_later(const Operation& one) {
  if (one.kind == Kind::barrier && !is_one_way(one)) return true;
  return !only_stores(one) && acquires(one.made.order);
}
/// Nothing before it sinks below it.
bool holds_earlier(const Operation& one) {
  if (one.kind == Kind::barrier && !is_one_way(one)) return true;
  return one.kind != Kind::load && releases(one.made.order);
}
bool is_sequential(const Operation& one) {
  return one.kind != Kind::barrier && one.made.order == std::memory_order_seq_cst;
}

/// Whether the first, which the program has before the second, must stay there.
bool stays_before(const Operation& first, const Operation& second) {
  if (first.kind == Kind::compute || second.kind == Kind::compute) return false;
  if (second.kind == Kind::branch) return false;
  // Only a load can be done in vain, and only one that cannot fault.
  if (first.kind == Kind::branch) return second.kind != Kind::load || !second.address;
  if (holds_later(first) || holds_earlier(second)) return true;
  // A release fence is for the stores behind it, an acquire fence for the loads before it.
  if (is_one_way(first)) return second.kind != Kind::load;
  if (is_one_way(second)) return !only_stores(first);
  if (is_sequential(first) && is_sequential(second)) return true;
  return may_be_same_word(first, second);
}

/// Whether the pair is a load and a store that may not rise above it without load buffering.
bool buffers_load(const Operation& first, const Operation& second) {
  return (first.kind == Kind::load || first.kind == Kind::modify) &&
         (second.kind == Kind::store || second.kind == Kind::modify);
}

class Orders {
 public:
  Orders(const Lowered& lowered, bool load_buffering, std::vector<Code>& orders)
      : lowered_(lowered),
        load_buffering_(load_buffering),
        operations_(lowered.operations),
        orders_(orders) {}

  bool add_all() {
    const auto loads = loads_of_own_stores();
    if (loads.size() > kMostForwarded) return false;
    for (unsigned chosen = 0; chosen < 1U << loads.size(); ++chosen) {
      operations_ = lowered_.operations;
      extra_.clear();
      for (std::size_t i = 0; i < loads.size(); ++i) {
        if (((chosen >> i) & 1) != 0) forward(loads[i].first, loads[i].second);
      }
      find_order();
      if (is_cyclic()) continue;
      row_.clear();
      if (!extend({}, kNone)) return false;
    }
    return true;
  }

 private:
  using Pair = std::pair<std::size_t, std::size_t>;

  [[nodiscard]] std::vector<Pair> loads_of_own_stores() const;
  void forward(std::size_t load, std::size_t store);
  void find_order();
  [[nodiscard]] bool is_cyclic() const;
  bool extend(Set done, std::size_t last_load);
  void take(std::size_t operation, Set& done) {
    done.set(operation);
    row_.push_back(operation);
  }

  [[nodiscard]] bool stays(const Operation& first, const Operation& second) const {
    return stays_before(first, second) || (!load_buffering_ && buffers_load(first, second));
  }

  const Lowered& lowered_;
  bool load_buffering_;
  std::vector<Operation> operations_;
  std::vector<Code>& orders_;
  std::vector<Pair> extra_;   // first, second
  std::vector<Set> earlier_;  // by operation: all that must come before it
  std::vector<std::size_t> row_;
};

/// Loads that read what their own CPU has just stored, unless another operation may store to the
/// word in between.
std::vector<Orders::Pair> Orders::loads_of_own_stores() const {
  std::vector<Pair> found;
  for (std::size_t load = 0; load < operations_.size(); ++load) {
    const Operation& one = operations_[load];
    if (one.kind != Kind::load || !one.address || one.made.source_width != 0) continue;
    for (std::size_t i = load; i-- > 0;) {
      const Operation& other = operations_[i];
      if (other.kind != Kind::store && other.kind != Kind::modify) continue;
      if (!may_be_same_word(other, one)) continue;
      if (other.kind == Kind::store && other.address) found.emplace_back(load, i);
      break;
    }
  }
  return found;
}

/// A compiler may drop the load, if it can be put right behind the store: no other CPU stores in
/// between then. What the load had to wait for, the store must wait for then.
void Orders::forward(std::size_t load, std::size_t store) {
  Operation& dropped = operations_[load];
  for (std::size_t i = 0; i < load; ++i) {
    if (i != store && stays(operations_[i], dropped)) extra_.emplace_back(i, store);
  }
  const Operation& from = operations_[store];
  dropped.kind = Kind::compute;
  dropped.made.order = std::memory_order_relaxed;
  dropped.made.operands[1] = from.made.operands[1];
  dropped.needs.insert(dropped.needs.end(), from.needs.begin(), from.needs.end());
}

void Orders::find_order() {
  earlier_.assign(operations_.size(), {});
  for (std::size_t second = 0; second < operations_.size(); ++second) {
    for (const std::size_t first : operations_[second].needs) earlier_[second].set(first);
    for (std::size_t first = 0; first < second; ++first) {
      if (stays(operations_[first], operations_[second])) earlier_[second].set(first);
    }
  }
  for (const auto& [first, second] : extra_) {
    if (operations_[first].kind != Kind::compute) earlier_[second].set(first);
  }
  for (std::size_t middle = 0; middle < operations_.size(); ++middle) {
    for (Set& set : earlier_) {
      if (set.test(middle)) set |= earlier_[middle];
    }
  }
}

bool Orders::is_cyclic() const {
  for (std::size_t i = 0; i < earlier_.size(); ++i) {
    if (earlier_[i].test(i)) return true;
  }
  return false;
}

bool Orders::extend(Set done, std::size_t last_load) {
  const std::size_t length = row_.size();
  const auto ready = [&](std::size_t i) { return !done.test(i) && (earlier_[i] & ~done).none(); };
  // What others do not see is done as soon as it can be.
  for (bool found = true; found;) {
    found = false;
    for (std::size_t i = 0; i < operations_.size(); ++i) {
      const bool silent =
          operations_[i].kind == Kind::compute || operations_[i].kind == Kind::branch;
      if (!silent || !ready(i)) continue;
      take(i, done);
      found = true;
    }
  }
  bool good = true;
  if (row_.size() == operations_.size()) {
    Code code;
    for (const std::size_t i : row_) code.push_back(operations_[i].made);
    code.insert(code.end(), lowered_.epilogue.begin(), lowered_.epilogue.end());
    orders_.push_back(std::move(code));
    good = orders_.size() <= kMostOrders;
  }
  for (std::size_t i = 0; i < operations_.size() && good; ++i) {
    if (!ready(i)) continue;
    const Kind kind = operations_[i].kind;
    // The store goes first, and stays in the store buffer for a while: that shows the same.
    if (last_load != kNone && kind == Kind::store && !earlier_[i].test(last_load)) continue;
    const std::size_t before = row_.size();
    Set with = done;
    take(i, with);
    good = extend(with, kind == Kind::load ? i : kNone);
    row_.resize(before);
  }
  row_.resize(length);
  return good;
}

}  // namespace

bool add_orders(const Lowered& lowered, bool load_buffering, std::vector<Code>& orders) {
  if (lowered.operations.size() > kMostOperations) return false;
  return Orders(lowered, load_buffering, orders).add_all();
}

}  // namespace shootdown::host::litmus
