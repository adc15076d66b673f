// Zip archives as PyTorch writes them: entries are stored, so that they can be used where the kernel maps
// them. Entries that are compressed (a TorchScript archive's code) may be there, and are not read.
#pragma once

#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/formats/bytes.hpp"
#include "morphvlm/formats/mapped_file.hpp"

namespace morphvlm {

/// More entries than any checkpoint has, few enough to be listed.
inline constexpr std::uint64_t kMaxZipEntries = 1 << 20;

/// An entry, as the archive's directory has it.
struct ZipRecord {
  std::span<std::byte> bytes;  ///< in the mapping, as they are stored
  std::uint32_t crc = 0;       ///< the CRC-32 that is stated for the content; 0: none was computed
  std::uint16_t method = 0;    ///< how the content is compressed; 0: it is not
};

/// An archive's entries by name.
struct ZipFile {
  std::shared_ptr<const MappedFile> map;          ///< the file
  std::map<std::string, ZipRecord> entries = {};  ///< by their whole names, folders included
};

/// The CRC-32 of zip archives (polynomial 0x04c11db7, reflected).
inline std::uint32_t crc32(std::span<const std::byte> bytes) {
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  // zlib takes a null pointer for the question where to begin.
  return bytes.empty() ? 0 : static_cast<std::uint32_t>(::crc32_z(0, data, bytes.size()));
}

namespace detail {

inline constexpr std::uint32_t kZipLocal = 0x04034b50, kZipCentral = 0x02014b50, kZipEnd = 0x06054b50,
                               kZip64End = 0x06064b50, kZip64Locator = 0x07064b50;
inline constexpr std::uint32_t kZip32 = 0xffffffff;

struct ZipDirectory {
  std::uint64_t entries = 0, size = 0, offset = 0;
};

struct ZipEntry {
  std::string name = {};
  std::uint16_t flags = 0, method = 0;
  std::uint32_t crc = 0;
  std::uint64_t stored = 0, size = 0, header = 0;
};

inline ByteReader reader_at(const MappedFile& file, std::uint64_t at, const std::string& where) {
  expect(at <= file.bytes.size(), where, ": zip: byte ", at, " is beyond the file's ", file.bytes.size());
  return {file.bytes, where, static_cast<std::size_t>(at)};
}

// The record that ends an archive is followed by a comment of up to 65,535 bytes.
inline std::optional<std::size_t> find_zip_end(const MappedFile& file) {
  constexpr std::size_t kRecord = 22, kComment = 0xffff;
  const auto size = file.bytes.size();
  if (size < kRecord) return std::nullopt;
  for (std::size_t back = kRecord; back <= std::min(size, kRecord + kComment); ++back) {
    std::uint32_t signature = 0;
    std::uint16_t comment = 0;
    std::memcpy(&signature, file.bytes.data() + (size - back), 4);
    std::memcpy(&comment, file.bytes.data() + (size - back) + (kRecord - 2), 2);
    if (signature == kZipEnd && kRecord + comment == back) return size - back;
  }
  return std::nullopt;
}

inline void expect_one_disk(bool one, const std::string& where) {
  expect(one, where, ": zip: archives on several disks are not read");
}

inline ZipDirectory read_zip64_directory(const MappedFile& file, std::size_t end, const std::string& where) {
  constexpr std::size_t kLocator = 20;
  expect(end >= kLocator, where, ": zip: expected a zip64 locator before byte ", end);
  ByteReader locator = reader_at(file, end - kLocator, where);
  expect(locator.read<std::uint32_t>("zip64 locator") == kZip64Locator, where,
         ": zip: the zip64 locator is missing");
  locator.take(4, "zip64 disk");
  ByteReader record = reader_at(file, locator.read<std::uint64_t>("zip64 offset"), where);
  expect(record.read<std::uint32_t>("zip64 end record") == kZip64End, where,
         ": zip: the zip64 end record is missing");
  record.take(8 + 2 + 2, "zip64 end record");
  const auto disk = record.read<std::uint32_t>("disk"), first = record.read<std::uint32_t>("disk");
  const auto here = record.read<std::uint64_t>("zip64 entry count");
  ZipDirectory out;
  out.entries = record.read<std::uint64_t>("zip64 entry count");
  out.size = record.read<std::uint64_t>("zip64 directory size");
  out.offset = record.read<std::uint64_t>("zip64 directory offset");
  expect_one_disk(disk == 0 && first == 0 && here == out.entries, where);
  return out;
}

inline ZipDirectory read_zip_directory(const MappedFile& file, const std::string& where) {
  const auto end = find_zip_end(file);
  expect(end.has_value(), where, ": zip: no end record: the file is truncated or no zip archive");
  ByteReader record = reader_at(file, *end + 4, where);
  const auto disk = record.read<std::uint16_t>("disk"), first = record.read<std::uint16_t>("disk");
  const auto here = record.read<std::uint16_t>("entry count");
  ZipDirectory out;
  out.entries = record.read<std::uint16_t>("entry count");
  out.size = record.read<std::uint32_t>("directory size");
  out.offset = record.read<std::uint32_t>("directory offset");
  if (out.entries == 0xffff || out.size == kZip32 || out.offset == kZip32)
    return read_zip64_directory(file, *end, where);
  expect_one_disk(disk == 0 && first == 0 && here == out.entries, where);
  return out;
}

// What does not fit into 32 bits stands in the extra field with id 1, in this order.
inline void read_zip64_extra(ZipEntry& entry, ByteReader extra) {
  while (extra.remaining() >= 4) {
    const auto id = extra.read<std::uint16_t>("extra id"), size = extra.read<std::uint16_t>("extra size");
    ByteReader field{extra.take(size, "extra field"), extra.where};
    if (id != 1) continue;
    for (auto* value : {&entry.size, &entry.stored, &entry.header})
      if (*value == kZip32) *value = field.read<std::uint64_t>("zip64 value");
  }
}

inline ZipEntry read_zip_entry(ByteReader& directory) {
  expect(directory.read<std::uint32_t>("entry") == kZipCentral, directory.where,
         ": zip: the directory is damaged at byte ", directory.at - 4);
  directory.take(4, "versions");
  ZipEntry entry;
  entry.flags = directory.read<std::uint16_t>("flags");
  entry.method = directory.read<std::uint16_t>("method");
  directory.take(4, "time");
  entry.crc = directory.read<std::uint32_t>("checksum");
  entry.stored = directory.read<std::uint32_t>("stored size");
  entry.size = directory.read<std::uint32_t>("size");
  const auto name = directory.read<std::uint16_t>("name length"),
             extra = directory.read<std::uint16_t>("extra length"),
             comment = directory.read<std::uint16_t>("comment length");
  directory.take(2 + 2 + 4, "attributes");
  entry.header = directory.read<std::uint32_t>("header offset");
  const auto text = directory.take(name, "name");
  entry.name.assign(reinterpret_cast<const char*>(text.data()), text.size());
  read_zip64_extra(entry, {directory.take(extra, "extra field"), directory.where});
  directory.take(comment, "comment");
  return entry;
}

inline std::span<std::byte> zip_entry_bytes(const MappedFile& file, const ZipEntry& entry,
                                            const std::string& where) {
  const std::string whose = where + ": zip: entry \"" + entry.name + '"';
  expect((entry.flags & 1) == 0, whose, " is encrypted");
  expect(entry.method != 0 || entry.stored == entry.size, whose, ": ", entry.stored,
         " bytes are stored, but its size is ", entry.size);
  ByteReader local = reader_at(file, entry.header, where);
  expect(local.read<std::uint32_t>("local header") == kZipLocal, whose, " has no header at byte ",
         entry.header);
  local.take(2, "version");
  const auto flags = local.read<std::uint16_t>("flags"), method = local.read<std::uint16_t>("method");
  // Sizes and checksum may stand behind the data; the directory has them anyway.
  local.take(4 + 4 + 4 + 4, "local header");
  const auto length = local.read<std::uint16_t>("name length"),
             extra = local.read<std::uint16_t>("extra length");
  const auto name = local.take(length, "name");
  const bool same = std::string_view(reinterpret_cast<const char*>(name.data()), name.size()) == entry.name;
  expect(same && flags == entry.flags && method == entry.method, whose,
         ": its own header and the directory say different things");
  local.take(extra, "extra field");
  return local.take(entry.stored, "entry \"" + entry.name + '"');
}

}  // namespace detail

/// The bytes of an entry called `name`. Error: they are compressed.
inline std::span<std::byte> stored_bytes(const ZipFile& zip, const std::string& name,
                                         const ZipRecord& record) {
  expect(record.method == 0, zip.map->path.string(), ": zip: entry \"", name, "\" is compressed (method ",
         record.method, "); only stored entries are read");
  return record.bytes;
}

/// The bytes of an entry, checked against their checksum. Error: another sum, compressed, no such entry.
/// (PyTorch can be told not to compute sums, and then states 0.)
inline std::span<std::byte> checked_entry(const ZipFile& zip, const std::string& name) {
  const auto it = zip.entries.find(name);
  expect(it != zip.entries.end(), zip.map->path.string(), ": zip: there is no entry \"", name, '"');
  const auto bytes = stored_bytes(zip, name, it->second);
  const auto crc = it->second.crc;
  expect(crc == 0 || crc == crc32(bytes), zip.map->path.string(), ": zip: entry \"", name,
         "\" is damaged: its checksum differs");
  return bytes;
}

/// Opens an archive. Errors: truncated, encrypted, on several disks, entries that overlap each
/// other or the directory (how small archives pretend to be huge), two entries of a name. The entries' own
/// bytes are not touched yet, see checked_entry.
inline ZipFile open_zip(const std::filesystem::path& path) {
  const std::string where = path.string();
  ZipFile zip{map_file(path)};
  const MappedFile& file = *zip.map;
  const auto directory = detail::read_zip_directory(file, where);
  expect(directory.entries <= kMaxZipEntries, where, ": zip: ", directory.entries,
         " entries, expected at most ", kMaxZipEntries);
  ByteReader whole = detail::reader_at(file, directory.offset, where);
  ByteReader reader{whole.take(directory.size, "zip directory"), where};
  std::vector<std::pair<std::uint64_t, std::uint64_t>> taken;
  for (std::uint64_t i = 0; i < directory.entries; ++i) {
    const auto entry = detail::read_zip_entry(reader);
    const auto bytes = detail::zip_entry_bytes(file, entry, where);
    const auto end = static_cast<std::uint64_t>(bytes.data() + bytes.size() - file.bytes.data());
    taken.emplace_back(entry.header, end);
    expect(zip.entries.emplace(entry.name, ZipRecord{bytes, entry.crc, entry.method}).second, where,
           ": zip: two entries are called \"", entry.name, '"');
  }
  expect(reader.remaining() == 0, where, ": zip: ", reader.remaining(),
         " bytes of the directory are left over");
  std::ranges::sort(taken);
  for (std::size_t i = 0; i < taken.size(); ++i) {
    const auto limit = i + 1 < taken.size() ? taken[i + 1].first : directory.offset;
    expect(taken[i].second <= limit, where, ": zip: entries overlap at byte ", limit);
  }
  return zip;
}

}  // namespace morphvlm
