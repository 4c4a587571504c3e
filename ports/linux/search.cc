// Searches for an execution in which the TLB code of a Linux tree breaks a promise, replays one, or
// explores all interleavings of a small program.
#include "ports/harness/search.h"

#include "ports/linux/kernel.h"

namespace {

using namespace shootdown;

port::Glue glue;

bool prepare(model::Code& code, std::string& error) {
  std::string missing;
  if (glue.find(code, missing)) return true;
  error = "the code has no function " + missing + " of ports/linux/glue.c";
  return false;
}

std::unique_ptr<port::ForeignKernel> make(host::Machine& machine, model::Code& code) {
  return std::make_unique<port::LinuxKernel>(machine, code, glue);
}

}  // namespace

int main(int argc, char** argv) {
  return port::search_main(argc, argv,
                           {.make = &make,
                            .draw = &port::draw_linux_header,
                            .has_configurations = true,
                            .elides = true,
                            .prepare = &prepare});
}
