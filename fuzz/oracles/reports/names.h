// How reports and timelines call things.
#pragma once

#include <string>

#include "core/types.h"

namespace shootdown::fuzz {

inline std::string cpu_name(CpuId cpu) { return "cpu" + std::to_string(cpu); }
inline std::string mm_name(unsigned mm) { return "mm" + std::to_string(mm); }
inline std::string kernel_page_name(unsigned page) { return "kernel page " + std::to_string(page); }
inline std::string page_name(unsigned page) { return "page " + std::to_string(page); }

}  // namespace shootdown::fuzz
