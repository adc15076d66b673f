// Files as memory: weights are used where the kernel maps them, without a copy.
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <system_error>
#include <vector>

#include "morphvlm/core/downloaded_file.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

namespace detail {

[[noreturn]] inline void fail_errno(const std::filesystem::path& path, const char* what) {
  fail(path.string(), ": ", what, ": ", std::generic_category().message(errno));
}

struct Descriptor {
  int fd = -1;

  explicit Descriptor(int opened) : fd(opened) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace detail

/// A regular file in memory, copy-on-write: what is written into `bytes` never reaches the file. The mapping
/// lives as long as this object. A file that another program shortens meanwhile is beyond protection
/// (SIGBUS); one that is replaced by renaming, as write_file does, is not affected.
struct MappedFile {
  std::filesystem::path path;  ///< as it was opened, for messages
  std::span<std::byte> bytes;  ///< the whole file; never empty

  /// Maps `file`; an Error where it is missing, unreadable, not a regular file, empty, or not downloaded (see
  /// expect_downloaded).
  explicit MappedFile(const std::filesystem::path& file) : path(file) {
    // Without O_NONBLOCK opening a named pipe would wait for its writer.
    const detail::Descriptor in(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (in.fd < 0) detail::fail_errno(file, "cannot be opened for reading");
    struct stat info = {};
    if (::fstat(in.fd, &info) != 0) detail::fail_errno(file, "cannot be examined");
    expect(!S_ISDIR(info.st_mode), file.string(), ": expected a file, found a folder");
    expect(S_ISREG(info.st_mode), file.string(), ": expected a regular file, found a device, pipe or socket");
    expect(info.st_size > 0, file.string(), ": the file is empty");
    const auto size = static_cast<std::size_t>(info.st_size);
    void* start = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, in.fd, 0);
    if (start == MAP_FAILED) detail::fail_errno(file, "cannot be mapped into memory");
    bytes = {static_cast<std::byte*>(start), size};
    try {
      expect_downloaded({static_cast<const char*>(start), size}, file.string());
    } catch (...) {
      ::munmap(start, size);
      throw;
    }
  }

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() {
    if (!bytes.empty()) ::munmap(bytes.data(), bytes.size());
  }
};

/// Maps a file for readers that share it.
inline std::shared_ptr<const MappedFile> map_file(const std::filesystem::path& path) {
  return std::make_shared<const MappedFile>(path);
}

/// A tensor over `data`, which lies in `map` and holds exactly the elements of `shape`. It keeps the mapping
/// alive. Where `data` does not start at a multiple of the element size, the tensor is a copy instead:
/// kernels may assume alignment, files need not.
inline Tensor mapped_tensor(std::shared_ptr<const MappedFile> map, std::span<std::byte> data,
                            const std::vector<std::int64_t>& shape, at::ScalarType dtype) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(data.data()) % c10::elementSize(dtype) == 0;
  if (aligned && !data.empty()) {
    return at::from_blob(
        data.data(), shape, [map = std::move(map)](void*) {}, TensorOptions().dtype(dtype));
  }
  Tensor copy = at::empty(shape, TensorOptions().dtype(dtype));
  if (!data.empty()) std::memcpy(copy.data_ptr(), data.data(), data.size());
  return copy;
}

}  // namespace morphvlm
