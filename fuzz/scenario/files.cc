#include "fuzz/scenario/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

#include "hal/host/command_line.h"

namespace shootdown::fuzz {

namespace {

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

bool because(const std::string& path, const std::string& cause, std::string& error) {
  error = path + ": " + cause;
  return false;
}

bool because_of_errno(const std::string& path, std::string& error) {
  return because(path, host::reason_of(errno), error);
}

/// Opens what is a file. Not asked before: it may have become something else. Without waiting: a
/// pipe without a writer would never open.
File open_to_read(const std::string& path, std::string& error) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) {
    static_cast<void>(because_of_errno(path, error));
    return nullptr;
  }
  File file(fdopen(descriptor, "rb"));
  struct stat info{};
  if (file == nullptr || fstat(descriptor, &info) != 0) {
    static_cast<void>(because_of_errno(path, error));
    return nullptr;
  }
  if (!S_ISREG(info.st_mode)) {
    static_cast<void>(because(path, "not a file; give one scenario or crash file", error));
    return nullptr;
  }
  return file;
}

bool read_all(const std::string& path, std::string& content, std::string& error) {
  const bool is_input = path == kStandardInput;
  const File opened = is_input ? nullptr : open_to_read(path, error);
  std::FILE* const file = is_input ? stdin : opened.get();
  if (file == nullptr) return false;
  content.resize(kMaxFileBytes + 1);
  const std::size_t count = std::fread(content.data(), 1, content.size(), file);
  if (std::ferror(file) != 0) return because_of_errno(path, error);
  content.resize(count);
  if (count <= kMaxFileBytes) return true;
  return because(
      path, "too many bytes for a scenario (at most " + std::to_string(kMaxFileBytes) + ")", error);
}

/// A text that was cut somewhere may still be one, but a shorter number stands at its end.
bool check_end(const std::string& path, std::string_view text, std::string& error) {
  if (text.empty() || text.ends_with('\n')) return true;
  const auto line = 1 + std::count(text.begin(), text.end(), '\n');
  return because(path + ":" + std::to_string(line),
                 "the last line has no end; the text was cut, or lacks its last line feed", error);
}

// ---- Writing

/// Where a file is written before it gets its name. What is no file, such as /dev/null, is written
/// where it is, and a link stays one.
struct Destination {
  std::string path;       // with links followed
  std::string temporary;  // empty if there is none
};

bool find_destination(const std::string& path, Destination& target, std::string& error) {
  target.path = path;
  char resolved[PATH_MAX];
  if (realpath(path.c_str(), resolved) != nullptr) target.path = resolved;
  struct stat info{};
  if (stat(target.path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) return because(path, "is a folder; name a file in it", error);
    if (access(target.path.c_str(), W_OK) != 0) return because_of_errno(path, error);
    if (!S_ISREG(info.st_mode)) return true;
  } else if (errno != ENOENT || path.empty() || path.ends_with('/')) {
    return because_of_errno(path, error);
  }
  target.temporary = target.path + ".new-" + std::to_string(getpid());
  return true;
}

File open_to_write(const Destination& target, std::string& error, const std::string& path) {
  const int flags = target.temporary.empty() ? O_NONBLOCK : O_CREAT | O_EXCL;
  const std::string& name = target.temporary.empty() ? target.path : target.temporary;
  constexpr mode_t kLessUmask = 0666;
  const int descriptor = open(name.c_str(), O_WRONLY | O_CLOEXEC | flags, kLessUmask);
  File file(descriptor < 0 ? nullptr : fdopen(descriptor, "wb"));
  if (file == nullptr) static_cast<void>(because_of_errno(path, error));
  return file;
}

/// Closes the file, which may fail as any write may.
bool write_and_close(File file, std::string_view content) {
  const bool written =
      std::fwrite(content.data(), 1, content.size(), file.get()) == content.size() &&
      std::fflush(file.get()) == 0;
  const int cause = errno;
  if (std::fclose(file.release()) == 0 && written) return true;
  if (!written) errno = cause;
  return false;
}

}  // namespace

bool load(const std::string& path, Unmarked unmarked, Scenario& scenario, Source& source,
          std::string& error) {
  std::string content;
  if (!read_all(path, content, error)) return false;
  source = {};
  if (is_marked_wrongly(content)) {
    return because(path,
                   "bytes of another version, or damaged; expected 'shootdown-bytes 1' and a "
                   "line feed before them",
                   error);
  }
  source.is_text = is_text(content);
  if (!source.is_text && (unmarked == Unmarked::taken || is_marked(content))) {
    decode({reinterpret_cast<const std::uint8_t*>(content.data()), content.size()}, scenario);
    return true;
  }
  ParseError problem;
  if (parse(content, scenario, problem, &source.deviation_lines)) {
    return check_end(path, content, error);
  }
  error = path + ":" + std::to_string(problem.line) + ": " + problem.what;
  if (!source.is_text) error += " (reproduce --bytes takes any file as the bytes of a fuzzer)";
  return false;
}

bool load_text(const std::string& path, std::string& text, std::string& error) {
  return read_all(path, text, error) && check_end(path, text, error);
}

bool can_save(const std::string& path, std::string& error) {
  Destination target;
  if (!find_destination(path, target, error)) return false;
  if (target.temporary.empty()) return true;
  const File file = open_to_write(target, error, path);
  if (file == nullptr) return false;
  unlink(target.temporary.c_str());
  return true;
}

bool save(const std::string& path, std::string_view content, std::string& error) {
  Destination target;
  if (!find_destination(path, target, error)) return false;
  File file = open_to_write(target, error, path);
  if (file == nullptr) return false;
  const bool written = write_and_close(std::move(file), content);
  if (target.temporary.empty()) return written || because_of_errno(path, error);
  if (written && std::rename(target.temporary.c_str(), target.path.c_str()) == 0) return true;
  static_cast<void>(because_of_errno(path, error));
  unlink(target.temporary.c_str());
  return false;
}

bool save(const std::string& path, const Scenario& scenario, std::string& error) {
  // Bytes have no room for many CPUs.
  if (path.ends_with(".txt") || scenario.header.cpus > kByteCpus)
    return save(path, print(scenario), error);
  std::string content(kBytesMark);
  const auto bytes = encode(scenario);
  content.append(bytes.begin(), bytes.end());
  return save(path, content, error);
}

}  // namespace shootdown::fuzz
