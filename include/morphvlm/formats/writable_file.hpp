// Whether a result can be written, asked before the work that makes it.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "morphvlm/core/error.hpp"
#include "morphvlm/formats/atomic_file.hpp"
#include "morphvlm/formats/mapped_file.hpp"

namespace morphvlm {

/// An Error unless write_file could write `path` now: its folder, which is made where it is missing, takes a
/// new file, and a device or pipe may be written to. A file that is there stays as it is.
inline void expect_writable_file(const std::filesystem::path& path) {
  detail::with_file_errors(path, [&] {
    if (is_device_or_pipe(path)) {
      if (::access(path.c_str(), W_OK) != 0) detail::fail_errno(path, "cannot be written");
      return;
    }
    const auto target = detail::resolve_target(path);
    expect(!std::filesystem::is_directory(target), path.string(), ": expected a file, found a folder");
    const auto name = detail::sibling(target);
    const detail::Descriptor out(::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (out.fd < 0) detail::fail_errno(path, "cannot be created");
    const detail::Temporary removed(name);
  });
}

}  // namespace morphvlm
