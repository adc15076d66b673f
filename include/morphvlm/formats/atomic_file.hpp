// Writing so that a reader finds the old content or the new one, never half of either, whatever happens to
// the writer: aside in the same folder, synced to the disk, then renamed. That is for regular files: what is
// written to a device or a pipe goes there, since renaming would put a file into its place.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <concepts>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "morphvlm/core/error.hpp"
#include "morphvlm/formats/mapped_file.hpp"

namespace morphvlm {

namespace detail {

// The system's calls that writing is made of, so that tests can let any of them fail.
struct FileCalls {
  ::ssize_t (*write)(int, const void*, std::size_t) = &::write;
  int (*fsync)(int) = &::fsync;
  int (*rename)(const char*, const char*) = &::rename;
};

inline FileCalls& file_calls() {
  static FileCalls calls;
  return calls;
}

}  // namespace detail

/// What a writer callback of write_file gets: appends bytes to the file to be.
struct FileSink {
  int fd = -1;                 ///< write_file's own, which closes it
  std::filesystem::path path;  ///< for messages

  /// Appends; an Error where the disk does not take it all.
  void write(std::span<const std::byte> bytes) const {
    while (!bytes.empty()) {
      const auto written = detail::file_calls().write(fd, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) detail::fail_errno(path, "cannot be written");
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }
  /// Appends text as it is; an Error where the disk does not take it all.
  void write(std::string_view text) const { write(std::as_bytes(std::span(text.data(), text.size()))); }
};

/// The empty file that marks a folder made by write_directory.
inline constexpr const char* kFolderMark = ".morphvlm";

/// Whether `path` is there and neither a regular file nor a folder: a device, a pipe, a socket. Links are
/// followed.
inline bool is_device_or_pipe(const std::filesystem::path& path) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  return std::filesystem::exists(status) && !std::filesystem::is_regular_file(status) &&
         !std::filesystem::is_directory(status);
}

namespace detail {

// The number of the open file of this process that `path` names (/dev/stdout, /dev/fd/3); -1: it names none.
inline int named_descriptor(std::filesystem::path path) {
  constexpr int kMostLinks = 40;
  std::error_code ignored;
  const auto open_files = std::filesystem::canonical("/proc/self/fd", ignored);
  for (int links = 0; links < kMostLinks && std::filesystem::is_symlink(path, ignored); ++links) {
    const auto folder =
        std::filesystem::canonical(path.has_parent_path() ? path.parent_path() : ".", ignored);
    const std::string name = path.filename().string();
    int number = -1;
    if (!open_files.empty() && folder == open_files &&
        std::from_chars(name.data(), name.data() + name.size(), number).ec == std::errc{})
      return number;
    path = folder / std::filesystem::read_symlink(path, ignored);
  }
  return -1;
}

// Opens what is written to where it is, without replacing it.
inline int open_in_place(const std::filesystem::path& path) {
  const int named = named_descriptor(path);
  // A copy shares its place in the file: what a shell has sent to a file itself stays in front.
  if (named >= 0) return ::fcntl(named, F_DUPFD_CLOEXEC, 0);
  return ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
}

// Removed when it goes out of scope; after a successful rename there is nothing left to remove.
struct Temporary {
  std::filesystem::path path;

  explicit Temporary(std::filesystem::path p) : path(std::move(p)) {}
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  ~Temporary() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

// A free name in the target's folder. It does not contain the target's name, which may already be as long as
// names can be. A killed writer may have left its temporary, and process numbers come again.
inline std::filesystem::path sibling(const std::filesystem::path& target) {
  static std::atomic<unsigned> counter = 0;
  for (;;) {
    const auto name = ".morphvlm-" + std::to_string(::getpid()) + '-' + std::to_string(counter++) + ".tmp";
    auto path = target.parent_path() / name;
    if (!std::filesystem::exists(std::filesystem::symlink_status(path))) return path;
  }
}

inline void sync_path(const std::filesystem::path& path) {
  const Descriptor d(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (d.fd < 0) fail_errno(path, "cannot be opened for syncing");
  // Some network file systems cannot sync a folder and say so with EINVAL.
  if (file_calls().fsync(d.fd) != 0 && errno != EINVAL) fail_errno(path, "cannot be synced to the disk");
}

inline void sync_tree(const std::filesystem::path& folder) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_symlink() || !(entry.is_regular_file() || entry.is_directory())) continue;
    sync_path(entry.path());
  }
  sync_path(folder);
}

inline void rename_path(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (file_calls().rename(from.c_str(), to.c_str()) != 0) fail_errno(to, "cannot be put into place");
}

// Symbolic links are followed first, so that a link to another disk stays a link.
inline std::filesystem::path resolve_target(const std::filesystem::path& path) {
  const auto named = path.has_filename() ? path : path.parent_path();
  auto resolved = std::filesystem::weakly_canonical(std::filesystem::absolute(named));
  expect(resolved.has_filename(), "\"", path.string(), "\": expected the path of something to write");
  std::filesystem::create_directories(resolved.parent_path());
  return resolved;
}

// Turns the library's exceptions into ours, led by the target.
template <class F>
void with_file_errors(const std::filesystem::path& path, F&& f) {
  try {
    f();
  } catch (const std::filesystem::filesystem_error& e) {
    fail(path.string(), ": cannot be written: ", e.what());
  }
}

// Swaps two paths in one step; false where the system or the file system cannot.
inline bool exchange(const std::filesystem::path& a, const std::filesystem::path& b) {
#ifdef RENAME_EXCHANGE
  if (::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0) return true;
  if (errno != EINVAL && errno != ENOSYS) fail_errno(b, "cannot be put into place");
#endif
  return false;
}

// Puts `fresh` where `target` is and removes the old folder. Where two renames are needed, a failing second
// one puts the old folder back, and a failure of that too leaves it aside, not removed.
inline void replace_directory(const std::filesystem::path& fresh, const std::filesystem::path& target,
                              bool in_one_step = true) {
  if (in_one_step && exchange(fresh, target)) return;
  const auto aside = sibling(target);
  rename_path(target, aside);
  if (file_calls().rename(fresh.c_str(), target.c_str()) == 0) {
    std::filesystem::remove_all(aside);
    return;
  }
  const int reason = errno;
  rename_path(aside, target);
  errno = reason;
  fail_errno(target, "cannot be put into place");
}

}  // namespace detail

/// Writes `path` atomically: fill(const FileSink&) produces the content. Missing parent folders are made.
/// When anything fails, fill included, an existing file is untouched and nothing is left behind. A device, a
/// pipe or an open file of this process (/dev/stdout) is written to, as the content comes, and never
/// replaced.
template <class Fill>
requires std::invocable<Fill&, const FileSink&>
void write_file(const std::filesystem::path& path, Fill&& fill) {
  detail::with_file_errors(path, [&] {
    if (is_device_or_pipe(path) || detail::named_descriptor(path) >= 0) {
      const detail::Descriptor out(detail::open_in_place(path));
      if (out.fd < 0) detail::fail_errno(path, "cannot be opened for writing");
      return fill(FileSink{out.fd, path});
    }
    const auto target = detail::resolve_target(path);
    expect(!std::filesystem::is_directory(target), path.string(), ": expected a file, found a folder");
    const auto name = detail::sibling(target);
    const detail::Descriptor out(::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (out.fd < 0) detail::fail_errno(path, "cannot be created");
    const detail::Temporary fresh(name);
    fill(FileSink{out.fd, path});
    if (detail::file_calls().fsync(out.fd) != 0) detail::fail_errno(path, "cannot be synced to the disk");
    detail::rename_path(fresh.path, target);
    detail::sync_path(target.parent_path());
  });
}

/// Writes bytes to `path` atomically.
inline void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  write_file(path, [&](const FileSink& sink) { sink.write(bytes); });
}

/// Writes text to `path` atomically.
inline void write_file(const std::filesystem::path& path, std::string_view text) {
  write_file(path, [&](const FileSink& sink) { sink.write(text); });
}

/// An Error unless write_directory may write `path`: it is free, an empty folder, or a folder that
/// write_directory made. Call it before long work whose result is to go there.
inline void expect_writable_directory(const std::filesystem::path& path) {
  detail::with_file_errors(path, [&] {
    if (!std::filesystem::exists(path)) return;
    expect(std::filesystem::is_directory(path), path.string(), ": expected a folder, found a file");
    expect(std::filesystem::is_empty(path) || std::filesystem::exists(path / kFolderMark), path.string(),
           ": this folder has other content (no ", kFolderMark,
           " in it), so it is not replaced; choose another path or remove it");
  });
}

/// Writes a whole folder atomically: fill(const std::filesystem::path& folder) puts files into an empty
/// folder beside `path`, which then takes its place, an earlier result being removed. Missing parent folders
/// are made. When anything fails, fill included, what was at `path` is untouched. A folder that this function
/// did not make is never replaced; see expect_writable_directory.
template <class Fill>
requires std::invocable<Fill&, const std::filesystem::path&>
void write_directory(const std::filesystem::path& path, Fill&& fill) {
  detail::with_file_errors(path, [&] {
    expect_writable_directory(path);
    const auto target = detail::resolve_target(path);
    const auto name = detail::sibling(target);
    if (::mkdir(name.c_str(), 0777) != 0) detail::fail_errno(path, "cannot be created");
    const detail::Temporary fresh(name);
    fill(fresh.path);
    expect(std::ofstream(fresh.path / kFolderMark).good(), path.string(), ": cannot be written");
    detail::sync_tree(fresh.path);
    if (std::filesystem::exists(target)) {
      detail::replace_directory(fresh.path, target);
    } else {
      detail::rename_path(fresh.path, target);
    }
    detail::sync_path(target.parent_path());
  });
}

}  // namespace morphvlm
