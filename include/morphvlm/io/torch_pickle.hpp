// PyTorch's .pt, .pth and .bin files, of torch.save's present form (zip) and its older one. Tensors are
// mapped.
#pragma once

#include <ATen/ops/as_strided.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/io/pickle.hpp"
#include "morphvlm/io/zip.hpp"

namespace morphvlm {

/// An open file: its pickle as data, and the storages that tensors are views of, by key.
struct TorchFile {
  std::string where = {};
  PickleDocument document = {};
  std::map<std::string, std::span<std::byte>> storages = {};
  std::shared_ptr<const MappedFile> map = {};
};

namespace detail {

inline constexpr std::array<std::pair<std::string_view, at::ScalarType>, 10> kTorchStorages{
    {{"torch.FloatStorage", at::kFloat},
     {"torch.DoubleStorage", at::kDouble},
     {"torch.HalfStorage", at::kHalf},
     {"torch.BFloat16Storage", at::kBFloat16},
     {"torch.LongStorage", at::kLong},
     {"torch.IntStorage", at::kInt},
     {"torch.ShortStorage", at::kShort},
     {"torch.CharStorage", at::kChar},
     {"torch.ByteStorage", at::kByte},
     {"torch.BoolStorage", at::kBool}}};

struct TorchStorage {
  std::string key = {};
  at::ScalarType dtype = at::kFloat;
  std::int64_t elements = 0;
};

using PickleKind = PickleNode::Kind;

// ("storage", type, key, location, elements[, None]). Older files may hold views of storages, which are
// refused.
inline TorchStorage torch_storage(const PickleNode& node, const std::string& where) {
  const auto* id = node.kind == PickleKind::persistent ? node.items.front() : nullptr;
  const bool known = id && id->kind == PickleKind::tuple && id->items.size() >= 5 &&
                     id->items[0]->kind == PickleKind::text && id->items[0]->text == "storage" &&
                     id->items[1]->kind == PickleKind::global && id->items[2]->kind == PickleKind::text &&
                     id->items[4]->kind == PickleKind::integer &&
                     (id->items.size() == 5 || id->items[5]->kind == PickleKind::none);
  expect(known, where, ": expected a storage (type, key, place, size), found ", pickle_kind(node));
  TorchStorage out{.key = id->items[2]->text, .elements = id->items[4]->integer};
  for (const auto& [name, dtype] : kTorchStorages) {
    if (name == id->items[1]->text) {
      out.dtype = dtype;
      return out;
    }
  }
  fail(where, ": storages of type ", id->items[1]->text, " are not read");
}

inline std::vector<std::int64_t> integers(const PickleNode& node, const std::string& where) {
  const auto& tuple = node.kind == PickleKind::call && node.text == "torch.Size" && node.items.size() == 1
                          ? *node.items.front()
                          : node;
  expect(tuple.kind == PickleKind::tuple || tuple.kind == PickleKind::list, where,
         ": expected a tuple of integers, found ", pickle_kind(tuple));
  std::vector<std::int64_t> out;
  for (const auto* item : tuple.items) {
    expect(item->kind == PickleKind::integer && item->integer >= 0, where,
           ": expected integers from 0, found ", pickle_kind(*item), ' ', item->integer);
    out.push_back(item->integer);
  }
  return out;
}

// One past the last element that a view touches; nothing where that does not fit into 63 bits.
inline std::optional<std::int64_t> view_end(std::int64_t offset, const std::vector<std::int64_t>& size,
                                            const std::vector<std::int64_t>& stride) {
  std::int64_t last = offset;
  for (std::size_t i = 0; i < size.size(); ++i) {
    if (size[i] == 0) return offset;
    const auto reach = checked_product(size[i] - 1, stride[i]);
    if (!reach || *reach > std::numeric_limits<std::int64_t>::max() - 1 - last) return std::nullopt;
    last += *reach;
  }
  return last + 1;
}

inline Tensor storage_tensor(const TorchFile& file, const TorchStorage& storage, const std::string& where) {
  const auto it = file.storages.find(storage.key);
  expect(it != file.storages.end(), where, ": storage \"", storage.key, "\" is not in the file");
  const auto bytes =
      checked_product(storage.elements, static_cast<std::int64_t>(c10::elementSize(storage.dtype)));
  expect(bytes && static_cast<std::uint64_t>(*bytes) == it->second.size(), where, ": storage \"", storage.key,
         "\": expected ", storage.elements, " elements of ", c10::elementSize(storage.dtype),
         " bytes, found ", it->second.size(), " bytes");
  return mapped_tensor(file.map, it->second, {storage.elements}, storage.dtype);
}

inline bool is_tensor(const PickleNode& node) {
  return node.kind == PickleKind::call && node.text.starts_with("torch._utils._rebuild_");
}

// _rebuild_tensor_v2(storage, offset, size, stride, ...), _rebuild_parameter(tensor, ...)
inline Tensor rebuild_tensor(const TorchFile& file, const PickleNode& node, const std::string& name) {
  const std::string where = file.where + ": " + name;
  if (node.text == "torch._utils._rebuild_parameter") {
    const bool fits = !node.items.empty() && is_tensor(*node.items.front()) &&
                      node.items.front()->text != "torch._utils._rebuild_parameter";
    expect(fits, where, ": expected a parameter's tensor");
    return rebuild_tensor(file, *node.items.front(), name);
  }
  expect(node.items.size() >= 4 && node.items[1]->kind == PickleKind::integer && node.items[1]->integer >= 0,
         where, ": expected storage, offset, size and stride");
  const auto size = integers(*node.items[2], where), stride = integers(*node.items[3], where);
  const auto storage = torch_storage(*node.items[0], where);
  const auto offset = node.items[1]->integer;
  expect(size.size() == stride.size() && size.size() <= 64 && checked_numel(size), where, ": size ",
         to_string(size), " and stride ", to_string(stride), " do not go together");
  const auto end = view_end(offset, size, stride);
  expect(end && *end <= storage.elements, where, ": the tensor reaches beyond its storage of ",
         storage.elements, " elements");
  return storage_tensor(file, storage, where).as_strided(size, stride, offset);
}

inline TorchFile open_torch_zip(const std::filesystem::path& path) {
  TorchFile out{.where = path.string()};
  const ZipFile zip = open_zip(path);
  out.map = zip.map;
  std::string root;
  for (const auto& [name, bytes] : zip.entries) {
    if (name.ends_with("/data.pkl")) root = name.substr(0, name.size() - 8);
  }
  expect(!root.empty(), out.where, ": expected an archive of torch.save with data.pkl in it, found none");
  for (const auto& [name, bytes] : zip.entries) {
    if (name.starts_with(root + "data/")) out.storages.emplace(name.substr(root.size() + 5), bytes);
  }
  if (const auto it = zip.entries.find(root + "byteorder"); it != zip.entries.end()) {
    const std::string_view order(reinterpret_cast<const char*>(it->second.data()), it->second.size());
    expect(order == "little", out.where, ": byte order: expected little, found ", order);
  }
  out.document = read_pickle({zip.entries.at(root + "data.pkl"), out.where});
  return out;
}

// Pickles of a magic number, a protocol version, the system and the data, then the storages one after the
// other.
inline TorchFile open_torch_legacy(const std::filesystem::path& path) {
  constexpr std::string_view kMagic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
  TorchFile out{.where = path.string(), .map = map_file(path)};
  ByteReader reader{out.map->bytes, out.where};
  const auto next = [&] {
    PickleDocument document = read_pickle(reader);
    reader.at += document.bytes;
    return document;
  };
  const auto magic = next();
  expect(magic.root->kind == PickleKind::bytes && magic.root->text.substr(0, kMagic.size()) == kMagic,
         out.where, ": neither a zip archive nor a file of torch.save");
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
    expect(key->kind == PickleKind::text && types.contains(key->text), out.where, ": storage \"", key->text,
           "\" belongs to no tensor");
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

}  // namespace detail

/// Opens a file of torch.save. Errors name what is refused: a pickle that asks for anything but tensors, a
/// truncated or hostile archive, big-endian data.
inline TorchFile open_torch(const std::filesystem::path& path) {
  const auto map = map_file(path);
  const bool zip = map->bytes.size() >= 4 && std::memcmp(map->bytes.data(), "PK\x03\x04", 4) == 0;
  return zip ? detail::open_torch_zip(path) : detail::open_torch_legacy(path);
}

/// The tensors of a dict: of the file's own, or of the one under `key` ("model_state_dict" of a training
/// checkpoint). Values that are no tensors are left out. Error: no dict there, or no tensor in it; the
/// message lists the keys.
inline StateDict torch_state_dict(const TorchFile& file, const std::string& key = {}) {
  const PickleNode& root = *file.document.root;
  expect(root.kind == PickleNode::Kind::dict, file.where, ": expected a dict of tensors, found ",
         detail::pickle_kind(root));
  const PickleNode* dict = key.empty() ? &root : root.find(key);
  expect(dict && dict->kind == PickleNode::Kind::dict, file.where, ": expected a dict called \"", key,
         "\"; the file's keys: ", detail::list_keys(root));
  StateDict out;
  for (std::size_t i = 0; i + 1 < dict->items.size(); i += 2) {
    const PickleNode &name = *dict->items[i], &value = *dict->items[i + 1];
    if (name.kind != PickleNode::Kind::text || !detail::is_tensor(value)) continue;
    out.emplace_back(name.text, detail::rebuild_tensor(file, value, name.text));
  }
  expect(!out.empty(), file.where, ": no tensor", key.empty() ? "" : " under " + key,
         "; its keys: ", detail::list_keys(*dict));
  return out;
}

/// The tensors of a file that is one state dict.
inline StateDict load_torch(const std::filesystem::path& path) { return torch_state_dict(open_torch(path)); }

}  // namespace morphvlm
