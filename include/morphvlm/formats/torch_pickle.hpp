// PyTorch's .pt, .pth and .bin files, of torch.save's present form (zip) and its older one, and TorchScript
// archives (torch.jit.save), of which the tensors are read and the code is not. Tensors are mapped.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/formats/pickle.hpp"
#include "morphvlm/formats/torch_tensor.hpp"
#include "morphvlm/formats/zip.hpp"

namespace morphvlm {

namespace detail {

/// Deepest nesting of dicts whose tensors are listed.
inline constexpr std::size_t kMaxTorchDepth = 64;

inline std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The folder in which everything lies, with its slash.
inline std::string torch_root(const ZipFile& zip, const std::string& where) {
  constexpr std::string_view kPickle = "/data.pkl";
  std::string root;
  for (const auto& [name, record] : zip.entries) {
    if (!name.ends_with(kPickle)) continue;
    expect(root.empty(), where, ": expected one data.pkl, found ", root, "data.pkl and ", name);
    root = name.substr(0, name.size() - kPickle.size() + 1);
  }
  expect(!root.empty(), where, ": expected an archive of torch.save with data.pkl in it, found none");
  return root;
}

inline void check_torch_records(const ZipFile& zip, const std::string& root, const std::string& where) {
  constexpr int kOldest = 1, kNewest = 10;  // as torch.load
  if (zip.entries.contains(root + "byteorder")) {
    const auto order = text_of(checked_entry(zip, root + "byteorder"));
    expect(order == "little", where, ": byte order: expected little, found ", order);
  }
  if (zip.entries.contains(root + "version")) {
    const auto text = text_of(checked_entry(zip, root + "version"));
    int version = 0;
    std::from_chars(text.data(), text.data() + text.size(), version);
    expect(version >= kOldest && version <= kNewest, where, ": format version: expected ", kOldest, " to ",
           kNewest, ", found ", text);
  }
}

// The checksums of storages are left alone, as torch.load does: they would have to be read for it, all of
// them.
inline TorchFile open_torch_zip(const std::filesystem::path& path) {
  TorchFile out{.where = path.string()};
  const ZipFile zip = open_zip(path);
  out.map = zip.map;
  const std::string root = torch_root(zip, out.where), data = root + "data/";
  check_torch_records(zip, root, out.where);
  for (const auto& [name, record] : zip.entries) {
    if (name.starts_with(data))
      out.storages.emplace(name.substr(data.size()), stored_bytes(zip, name, record));
  }
  out.document = read_pickle({checked_entry(zip, root + "data.pkl"), out.where});
  return out;
}

// Pickles of a magic number, a protocol version, the system and the data, then the storages one after the
// other.
inline TorchFile open_torch_legacy(const std::filesystem::path& path) {
  constexpr std::string_view kMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
  constexpr std::size_t kFirstPickle = 32;
  TorchFile out{.where = path.string(), .map = map_file(path)};
  ByteReader reader{out.map->bytes, out.where};
  const auto next = [&] {
    PickleDocument document = read_pickle(reader);
    reader.at += document.bytes;
    return document;
  };
  // Before anything is read as a pickle that may be none.
  const auto begin = text_of(out.map->bytes.first(std::min(kFirstPickle, out.map->bytes.size())));
  expect(begin.find(kMagic) != begin.npos, out.where, ": neither a zip archive nor a file of torch.save");
  const auto magic = next();
  expect(magic.root->kind == PickleKind::bytes && magic.root->text.starts_with(kMagic), out.where,
         ": neither a zip archive nor a file of torch.save");
  const auto version = next();
  expect(version.root->kind == PickleKind::integer && version.root->integer == 1001, out.where,
         ": expected protocol version 1001, found ", version.root->integer);
  const auto system = next();
  const auto* little = system.root->find("little_endian");
  expect(little && little->kind == PickleKind::boolean && little->integer == 1, out.where,
         ": written on a big-endian machine, or by no torch.save");
  out.document = next();
  const auto keys = next();
  // The sizes of elements stand with the tensors, in the pickle.
  std::map<std::string, at::ScalarType> types;
  for (const auto& node : out.document.nodes) {
    if (node.kind != PickleKind::persistent) continue;
    const auto storage = torch_storage(node, out.where);
    types.emplace(storage.key, storage.dtype);
  }
  for (const auto* key : keys.root->items) {
    expect(key->kind == PickleKind::text && types.contains(key->text) && !out.storages.contains(key->text),
           out.where, ": storage \"", key->text, "\" belongs to no tensor or comes twice");
    const auto elements = reader.read<std::int64_t>("storage size");
    const auto bytes =
        checked_product(elements, static_cast<std::int64_t>(c10::elementSize(types.at(key->text))));
    expect(bytes.has_value(), out.where, ": storage \"", key->text, "\" of ", elements, " elements");
    out.storages[key->text] = reader.take(static_cast<std::uint64_t>(*bytes), "storage \"" + key->text + '"');
  }
  return out;
}

inline std::string list_keys(const PickleNode& dict) {
  std::string text;
  std::size_t shown = 0;
  for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    if (dict.items[i]->kind != PickleKind::text) continue;
    if (++shown > 20) return text + ", ...";
    text += (text.empty() ? "" : ", ") + dict.items[i]->text;
  }
  return text.empty() ? "none" : text;
}

// The dict that a value is, or of whose entries it is made: a TorchScript module's state. nullptr: none.
inline const PickleNode* dict_of(const PickleNode& value) {
  const PickleNode* state =
      value.kind == PickleKind::module && !value.items.empty() ? value.items.front() : &value;
  return state->kind == PickleKind::dict ? state : nullptr;
}

/// Lists the tensors of a dict, and those of dicts within it, their names joined by dots.
class TensorLister {
 public:
  explicit TensorLister(const TorchFile& file) : where_(file.where), tensors_(file) {}

  void list(const PickleNode& dict, const std::string& prefix = {}) {
    // A dict in two places would be listed twice, and those in it four times, and so on.
    expect(seen_.insert(&dict).second, where_, ": the dict \"", prefix, "\" stands in two places");
    expect(++depth_ <= kMaxTorchDepth, where_, ": dicts nested deeper than ", kMaxTorchDepth);
    for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      const PickleNode &key = *dict.items[i], &value = *dict.items[i + 1];
      if (key.kind != PickleKind::text) continue;
      const std::string name = prefix + key.text;
      if (const auto* inner = dict_of(value)) list(*inner, name + '.');
      if (!is_tensor(value)) continue;
      expect(names_.insert(name).second, where_, ": tensor \"", name, "\" is there twice");
      out.emplace_back(name, tensors_.rebuild(value, name));
    }
    --depth_;
  }

  StateDict out = {};

 private:
  std::string where_;
  TensorRebuilder tensors_;
  std::unordered_set<const PickleNode*> seen_;
  std::unordered_set<std::string> names_;
  std::size_t depth_ = 0;
};

inline bool has_tensor(const PickleNode& dict) {
  for (std::size_t i = 1; i < dict.items.size(); i += 2) {
    if (is_tensor(*dict.items[i])) return true;
  }
  return false;
}

}  // namespace detail

/// Opens a file of torch.save. Errors name what is refused: a pickle that asks for anything but tensors, a
/// truncated or hostile archive, big-endian data.
inline TorchFile open_torch(const std::filesystem::path& path) {
  const auto map = map_file(path);
  const bool zip = map->bytes.size() >= 4 && std::memcmp(map->bytes.data(), "PK\x03\x04", 4) == 0;
  return zip ? detail::open_torch_zip(path) : detail::open_torch_legacy(path);
}

/// The dict under `key` of another. Error: none there; the message lists the keys that are.
inline const PickleNode& torch_dict(const TorchFile& file, const PickleNode& dict, const std::string& key) {
  expect(dict.kind == PickleNode::Kind::dict, file.where, ": expected a dict, found ",
         detail::pickle_kind(dict));
  const auto* found = dict.find(key);
  expect(found && found->kind == PickleNode::Kind::dict, file.where, ": expected a dict called \"", key,
         "\"; the keys there: ", detail::list_keys(dict));
  return *found;
}

/// The tensors of a dict of the file, in its order; those of dicts within it are called by both names with a
/// dot between. Values that are no tensors are left out. Error: no dict, or no tensor directly in it, as with
/// a training checkpoint around a state dict; the message lists the keys.
inline StateDict torch_state_dict(const TorchFile& file, const PickleNode& dict) {
  expect(dict.kind == PickleNode::Kind::dict, file.where, ": expected a dict of tensors, found ",
         detail::pickle_kind(dict));
  expect(detail::has_tensor(dict), file.where, ": no tensor; its keys: ", detail::list_keys(dict));
  detail::TensorLister lister(file);
  lister.list(dict);
  return std::move(lister.out);
}

/// Whether the file is a TorchScript archive: a module and the code of its classes.
inline bool is_torch_script(const TorchFile& file) {
  return file.document.root->kind == PickleNode::Kind::module;
}

/// The same of the file's outermost dict, or of the one under its `key` ("model_state_dict" of a training
/// checkpoint). Of a TorchScript archive all parameters and buffers, by their names in the module's
/// state_dict().
inline StateDict torch_state_dict(const TorchFile& file, const std::string& key = {}) {
  const PickleNode& root = *file.document.root;
  if (is_torch_script(file)) {
    expect(key.empty(), file.where, ": expected a dict called \"", key, "\", found a TorchScript module");
    const auto* state = detail::dict_of(root);
    expect(state != nullptr, file.where, ": expected a TorchScript module's state, found none");
    detail::TensorLister lister(file);
    lister.list(*state);
    expect(!lister.out.empty(), file.where, ": the TorchScript module ", root.text, " has no tensor");
    return std::move(lister.out);
  }
  return torch_state_dict(file, key.empty() ? root : torch_dict(file, root, key));
}

/// The tensors of a file that is one state dict, or a TorchScript archive.
inline StateDict load_torch(const std::filesystem::path& path) { return torch_state_dict(open_torch(path)); }

}  // namespace morphvlm
