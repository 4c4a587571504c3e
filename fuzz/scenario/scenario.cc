// The byte form of a scenario. FORMAT.md has the layout as a table.
#include "fuzz/scenario/scenario.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "fuzz/scenario/kinds.h"

namespace shootdown::fuzz {
namespace {

/// A header field: `count` values from `first` on. It is stored as its distance from the default,
/// counted upwards and around, so that zero bytes mean the default configuration.
struct FieldRange {
  unsigned first;
  unsigned count;
  unsigned preset;

  [[nodiscard]] constexpr std::uint8_t from_byte(std::uint8_t byte) const {
    return first + (byte + (preset - first)) % count;
  }
  [[nodiscard]] constexpr std::uint8_t to_byte(unsigned value) const {
    return (value + count - preset) % count;
  }
  [[nodiscard]] constexpr std::uint8_t clamp(unsigned value) const {
    return std::clamp(value, first, first + count - 1);
  }
};

constexpr Header kDefaults{};
constexpr FieldRange kCpusRange{1, kMaxCpus, kDefaults.cpus};
constexpr FieldRange kByteCpusRange{1, kByteCpus, kDefaults.cpus};
constexpr FieldRange kMmsRange{1, kMaxMms, kDefaults.mms};
/// The backend and, in the lowest bit, whether the concurrent flush is off; and above both the
/// switches for which the bytes of switches have no room.
constexpr unsigned kBackendValues = 2 * kBackends;
constexpr unsigned kSwitchesInBytes = 16 + 7;
constexpr unsigned kSwitchesAbove = kHeaderSwitches.size() - kSwitchesInBytes;
constexpr FieldRange kBackendRange{0, kBackendValues << kSwitchesAbove, 0};
static_assert(kBackendRange.count <= 256);
static_assert(kDefaults.concurrent && kDefaults.backend == Backend::native);
constexpr FieldRange kCeilingRange{0, kMaxCeiling + 1, kDefaults.ceiling};

/// Bytes modulo a number that the input chooses: half of the time of `decode` was division.
using Remainders = std::array<std::uint8_t, 256>;
constexpr auto kModulo = [] {
  static_assert(kMaxCpus >= kMaxMms);
  std::array<Remainders, kMaxCpus + 1> table{};
  for (unsigned divisor = 1; divisor < table.size(); ++divisor) {
    for (unsigned byte = 0; byte < 256; ++byte) table[divisor][byte] = byte % divisor;
  }
  return table;
}();

using HeaderBytes = std::array<std::uint8_t, kHeaderBytes>;
enum HeaderIndex : std::uint8_t {
  cpus_byte,
  mms_byte,
  more_switches_byte,  // In the lowest bit whether PCIDs are off, then the last kHeaderSwitches.
  backend_byte,
  ceiling_byte,
  first_switches_byte,  // Two bytes of kHeaderSwitches, each bit a difference from the default.
  last_switches_byte,
  ops_byte = kHeaderBytes - 1,
};

using Record = std::array<std::uint8_t, kRecordBytes>;

/// Hands out records. What is missing at the end of the last one reads as zero.
class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  template <std::size_t kSize>
  std::array<std::uint8_t, kSize> take() {
    std::array<std::uint8_t, kSize> record{};
    if (bytes_.size() >= kSize) [[likely]] {
      std::memcpy(record.data(), bytes_.data(), kSize);
      bytes_ = bytes_.subspan(kSize);
    } else {
      std::copy(bytes_.begin(), bytes_.end(), record.begin());
      bytes_ = {};
    }
    return record;
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

static_assert(kHeaderSwitches.size() >= kSwitchesInBytes && kDefaults.pcid);
static_assert(kBytesMark[0] >= kByteCpus, "no canonical bytes begin with the mark");

void decode_switches(unsigned bits, Header& header) {
  for (const HeaderSwitch& one : kHeaderSwitches) {
    header.*one.field = kDefaults.*one.field != ((bits & 1) != 0);
    bits >>= 1;
  }
}

unsigned encode_switches(const Header& header) {
  unsigned bits = 0;
  for (unsigned i = 0; i < kHeaderSwitches.size(); ++i) {
    const auto field = kHeaderSwitches[i].field;
    if (header.*field != kDefaults.*field) bits |= 1U << i;
  }
  return bits;
}

void normalise(Op& op, unsigned mms) {
  const Remainders& modulo_mms = kModulo[mms];
  op.kind = static_cast<OpKind>(static_cast<unsigned>(op.kind) % kOpKinds);
  const OpShape& used = shape(op.kind);
  op.mm = used.uses_mm ? modulo_mms[op.mm] : 0;
  op.page = used.uses_page ? page_for(used, op.page) : 0;
  op.count = std::clamp<unsigned>(op.count, 1, counts(used, op.page, mms));
}

void normalise(Deviation& deviation, const Remainders& modulo_cpus, const Remainders& modulo_mms) {
  const unsigned kind = static_cast<unsigned>(deviation.kind) % kDeviationKinds;
  deviation.kind = static_cast<EventKind>(kind);
  deviation.cpu = (shape(deviation.kind).of_mm ? modulo_mms : modulo_cpus)[deviation.cpu];
  const DeviationShape& used = shape(deviation.kind);
  if (used.to_cpu) deviation.arg = modulo_cpus[deviation.arg];
  const unsigned args = used.args();
  if (deviation.arg >= args) deviation.arg %= args;
}

}  // namespace

void normalise(Scenario& scenario) {
  Header& header = scenario.header;
  header.cpus = kCpusRange.clamp(header.cpus);
  header.mms = kMmsRange.clamp(header.mms);
  header.ceiling = kCeilingRange.clamp(header.ceiling);
  header.backend = static_cast<Backend>(static_cast<unsigned>(header.backend) % kBackends);
  for (unsigned cpu = 0; cpu < kMaxCpus; ++cpu) {
    if (cpu >= header.cpus) scenario.ops[cpu].clear();
    for (Op& op : scenario.ops[cpu]) normalise(op, header.mms);
  }
  for (Deviation& deviation : scenario.deviations) {
    normalise(deviation, kModulo[header.cpus], kModulo[header.mms]);
  }
}

bool is_marked(std::string_view contents) { return contents.starts_with(kBytesMark); }

bool is_marked_wrongly(std::string_view contents) {
  return contents.starts_with(kBytesMark.substr(0, kBytesMark.find(' '))) && !is_marked(contents);
}

void decode(std::span<const std::uint8_t> bytes, Scenario& scenario) {
  if (is_marked({reinterpret_cast<const char*>(bytes.data()), bytes.size()})) {
    bytes = bytes.subspan(kBytesMark.size());
  }
  Reader reader(bytes);
  const HeaderBytes head = reader.take<kHeaderBytes>();
  Header& header = scenario.header;
  header.cpus = kByteCpusRange.from_byte(head[cpus_byte]);
  header.mms = kMmsRange.from_byte(head[mms_byte]);
  header.pcid = (head[more_switches_byte] & 1) == 0;
  const unsigned below = kBackendRange.from_byte(head[backend_byte]);
  header.concurrent = (below & 1) == 0;
  header.backend = static_cast<Backend>(below % kBackendValues / 2);
  header.ceiling = kCeilingRange.from_byte(head[ceiling_byte]);
  decode_switches(head[first_switches_byte] | head[last_switches_byte] << 8 |
                      (head[more_switches_byte] >> 1) << 16 |
                      below / kBackendValues << kSwitchesInBytes,
                  header);

  const Remainders& modulo_cpus = kModulo[header.cpus];

  for (auto& list : scenario.ops) list.clear();
  for (unsigned left = head[ops_byte] % (kMaxOps + 1); left > 0 && !reader.empty(); --left) {
    const Record record = reader.take<kRecordBytes>();
    auto& list = scenario.ops[modulo_cpus[record[1] & 0xf]];
    if (list.full()) continue;
    Op op{.kind = static_cast<OpKind>(record[0] % kOpKinds)};
    op.mm = record[1] >> 4;
    op.page = record[2];
    op.count = record[3] % kSmallPages + 1;
    normalise(op, header.mms);
    list.push_back(op);
  }

  scenario.deviations.clear();
  while (!reader.empty() && !scenario.deviations.full()) {
    const Record record = reader.take<kRecordBytes>();
    Deviation deviation{record[0], static_cast<EventKind>(record[1] % kDeviationKinds), record[2],
                        record[3]};
    normalise(deviation, modulo_cpus, kModulo[header.mms]);
    scenario.deviations.push_back(deviation);
  }
}

unsigned count_ops(const Scenario& scenario) {
  unsigned ops = 0;
  for (const auto& list : scenario.ops) ops += list.size();
  return ops;
}

std::size_t encoded_size(const Scenario& scenario) {
  return kHeaderBytes + kRecordBytes * (count_ops(scenario) + scenario.deviations.size());
}

std::size_t encode(const Scenario& scenario, std::span<std::uint8_t, kMaxBytes> bytes) {
  const Header& header = scenario.header;
  HeaderBytes head{};
  head[cpus_byte] = kByteCpusRange.to_byte(header.cpus);
  head[mms_byte] = kMmsRange.to_byte(header.mms);
  const unsigned switches = encode_switches(header);
  head[backend_byte] = kBackendRange.to_byte((kBackendValues * (switches >> kSwitchesInBytes)) +
                                             (2 * static_cast<unsigned>(header.backend)) +
                                             (header.concurrent ? 0 : 1));
  head[ceiling_byte] = kCeilingRange.to_byte(header.ceiling);
  head[first_switches_byte] = switches & 0xff;
  head[last_switches_byte] = (switches >> 8) & 0xff;
  head[more_switches_byte] = ((switches >> 16) & 0x7f) << 1 | (header.pcid ? 0 : 1);
  head[ops_byte] = count_ops(scenario);

  std::uint8_t* out = std::copy(head.begin(), head.end(), bytes.data());
  for (unsigned cpu = 0; cpu < kByteCpus; ++cpu) {
    for (const Op& op : scenario.ops[cpu]) {
      *out++ = static_cast<std::uint8_t>(op.kind);
      *out++ = op.mm << 4 | cpu;
      *out++ = op.page;
      *out++ = op.count - 1;
    }
  }
  for (const Deviation& deviation : scenario.deviations) {
    *out++ = deviation.delay;
    *out++ = static_cast<std::uint8_t>(deviation.kind);
    *out++ = deviation.cpu;
    *out++ = deviation.arg;
  }
  return static_cast<std::size_t>(out - bytes.data());
}

std::vector<std::uint8_t> encode(const Scenario& scenario) {
  std::array<std::uint8_t, kMaxBytes> bytes;
  const std::size_t size = encode(scenario, bytes);
  return {bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)};
}

}  // namespace shootdown::fuzz
