// Searches for an execution in which memory-management code that was compiled for the model breaks
// a promise.
#include "ports/harness/search.h"

#include "kernel-glue/embed/model/entry.h"
#include "kernel-glue/embed/port/kernel.h"

namespace {

using namespace shootdown;

port::Functions functions;

bool prepare(model::Code& code, std::string& error) {
  model::on_entry = [] { model::current_memory->settle(); };
  std::string missing;
  if (functions.find(code, missing)) return true;
  error =
      "the code has no function " + missing + "; kernel-glue/embed/on_model.h says what it does";
  return false;
}

std::unique_ptr<port::ForeignKernel> make(host::Machine& machine, model::Code& code) {
  return std::make_unique<port::PortKernel>(machine, code, functions);
}

}  // namespace

int main(int argc, char** argv) {
  return port::search_main(argc, argv,
                           {.make = &make, .draw = &port::draw_header, .prepare = &prepare});
}
