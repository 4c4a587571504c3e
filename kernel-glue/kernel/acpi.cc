#include "kernel-glue/kernel/acpi.h"

#include "kernel-glue/kernel/memory.h"
#include "kernel-glue/kernel/stop.h"

namespace shootdown::kernel {
namespace {

// Table layouts of the ACPI specification, 5.2. Packed, because its fields are not aligned.

struct [[gnu::packed]] RootPointer {
  char signature[8];
  std::uint8_t checksum;
  char oem[6];
  std::uint8_t revision;
  std::uint32_t rsdt;
  std::uint32_t length;
  std::uint64_t xsdt;
};
constexpr std::size_t kRevision0Bytes = 20;

struct [[gnu::packed]] TableHeader {
  char signature[4];
  std::uint32_t length;
  std::uint8_t revision;
  std::uint8_t checksum;
  char identification[26];
};
static_assert(sizeof(TableHeader) == 36);

struct [[gnu::packed]] MadtEntry {
  std::uint8_t type;
  std::uint8_t length;
};
constexpr std::size_t kMadtFixedBytes = 8;
constexpr std::uint8_t kLocalApic = 0;
constexpr std::uint8_t kLocalX2apic = 9;
constexpr std::uint32_t kUsable = 1;

struct [[gnu::packed]] LocalApicEntry {
  MadtEntry head;
  std::uint8_t processor;
  std::uint8_t apic_id;
  std::uint32_t flags;
};

struct [[gnu::packed]] LocalX2apicEntry {
  MadtEntry head;
  std::uint16_t reserved;
  std::uint32_t apic_id;
  std::uint32_t flags;
  std::uint32_t processor;
};

bool has_signature(const char* found, const char* wanted) {
  for (; *wanted != '\0'; ++found, ++wanted) {
    if (*found != *wanted) return false;
  }
  return true;
}

bool sums_to_zero(const void* object, std::size_t bytes) {
  const auto* byte = static_cast<const std::uint8_t*>(object);
  std::uint8_t sum = 0;
  for (std::size_t i = 0; i < bytes; ++i) sum = static_cast<std::uint8_t>(sum + byte[i]);
  return sum == 0;
}

const RootPointer* scan_for_root(PhysAddr begin, PhysAddr end) {
  for (PhysAddr address = begin; address < end; address += 16) {
    const auto* candidate = direct_map<const RootPointer>(address);
    if (has_signature(candidate->signature, "RSD PTR ") &&
        sums_to_zero(candidate, kRevision0Bytes)) {
      return candidate;
    }
  }
  return nullptr;
}

/// The root pointer is in the first KiB of the extended BIOS data area or in the BIOS' read-only
/// memory (ACPI 5.2.5.1).
const RootPointer& find_root() {
  constexpr PhysAddr kEbdaSegmentAt = 0x40e;
  const PhysAddr ebda = PhysAddr{*direct_map<const std::uint16_t>(kEbdaSegmentAt)} << 4;
  const RootPointer* root = ebda != 0 ? scan_for_root(ebda, ebda + 1024) : nullptr;
  if (root == nullptr) root = scan_for_root(0xe'0000, 0x10'0000);
  if (root == nullptr) fatal("the firmware has no ACPI tables");
  return *root;
}

const TableHeader* find_table(const char* signature) {
  const RootPointer& root = find_root();
  const bool wide = root.revision >= 2 && root.xsdt != 0;
  const auto* list = direct_map<const TableHeader>(wide ? root.xsdt : root.rsdt);
  const auto* pointers = reinterpret_cast<const std::uint8_t*>(list + 1);
  const std::size_t step = wide ? 8 : 4;
  for (std::size_t at = 0; at + step <= list->length - sizeof(TableHeader); at += step) {
    PhysAddr address = 0;
    __builtin_memcpy(&address, pointers + at, step);
    const auto* table = direct_map<const TableHeader>(address);
    if (has_signature(table->signature, signature)) return table;
  }
  return nullptr;
}

void add_cpu(CpuList& cpus, std::uint32_t apic_id, std::uint32_t flags) {
  if ((flags & kUsable) == 0) return;
  if (cpus.count == cpus.apic_ids.size()) {
    ++cpus.left_out;
  } else {
    cpus.apic_ids[cpus.count++] = apic_id;
  }
}

}  // namespace

CpuList find_cpus() {
  const TableHeader* madt = find_table("APIC");
  if (madt == nullptr) fatal("the firmware has no table of CPUs (MADT)");
  CpuList cpus;
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(madt);
  std::size_t at = sizeof(TableHeader) + kMadtFixedBytes;
  while (at + sizeof(MadtEntry) <= madt->length) {
    const auto* entry = reinterpret_cast<const MadtEntry*>(bytes + at);
    if (entry->length < sizeof(MadtEntry)) fatal("the table of CPUs (MADT) is damaged");
    if (entry->type == kLocalApic) {
      const auto* cpu = reinterpret_cast<const LocalApicEntry*>(entry);
      add_cpu(cpus, cpu->apic_id, cpu->flags);
    } else if (entry->type == kLocalX2apic) {
      const auto* cpu = reinterpret_cast<const LocalX2apicEntry*>(entry);
      add_cpu(cpus, cpu->apic_id, cpu->flags);
    }
    at += entry->length;
  }
  return cpus;
}

}  // namespace shootdown::kernel
