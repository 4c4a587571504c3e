#include "fuzz/files.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

namespace shootdown::fuzz {

namespace {

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

std::string reason(const std::string& path) { return path + ": " + std::strerror(errno); }

template <class Bytes>
bool read_all(const std::string& path, Bytes& bytes, std::string& error) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) {
    error = reason(path);
    return false;
  }
  if (!S_ISREG(info.st_mode)) {
    error = path + ": not a file; give one scenario or crash file";
    return false;
  }
  if (static_cast<std::uint64_t>(info.st_size) > kMaxFileBytes) {
    error = path + ": " + std::to_string(info.st_size) +
            " bytes are too many for a scenario (at most " + std::to_string(kMaxFileBytes) + ")";
    return false;
  }
  const File file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) {
    error = reason(path);
    return false;
  }
  bytes.resize(static_cast<std::size_t>(info.st_size));
  const std::size_t count = std::fread(bytes.data(), 1, bytes.size(), file.get());
  if (std::ferror(file.get()) != 0) {
    error = reason(path);
    return false;
  }
  bytes.resize(count);
  return true;
}

}  // namespace

bool load(const std::string& path, Scenario& scenario, std::string& error) {
  std::vector<std::uint8_t> bytes;
  if (!read_all(path, bytes, error)) return false;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!is_text(text)) {
    decode(bytes, scenario);
    return true;
  }
  ParseError problem;
  if (parse(text, scenario, problem)) return true;
  error = path + ":" + std::to_string(problem.line) + ": " + problem.what;
  return false;
}

bool load_text(const std::string& path, std::string& text, std::string& error) {
  return read_all(path, text, error);
}

bool save(const std::string& path, std::string_view content, std::string& error) {
  File file(std::fopen(path.c_str(), "wb"));
  if (file == nullptr ||
      std::fwrite(content.data(), 1, content.size(), file.get()) != content.size() ||
      std::fflush(file.get()) != 0) {
    error = reason(path);
    return false;
  }
  return true;
}

}  // namespace shootdown::fuzz
