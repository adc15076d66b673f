// Tensors of PyTorch's files: what a pickle says of them, and views of the mapped storages.
#pragma once

#include <ATen/ops/as_strided.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/formats/bytes.hpp"
#include "morphvlm/formats/mapped_file.hpp"
#include "morphvlm/formats/pickle_value.hpp"

namespace morphvlm {

/// An open file: its pickle as data, and the storages that tensors are views of, by key.
struct TorchFile {
  std::string where = {};                                     ///< the file, leads every message
  PickleDocument document = {};                               ///< the pickle that `torch.save` was given
  std::map<std::string, std::span<std::byte>> storages = {};  ///< in the mapping, whole
  std::shared_ptr<const MappedFile> map = {};                 ///< the file itself
};

namespace detail {

using PickleKind = PickleNode::Kind;

inline constexpr std::pair<std::string_view, at::ScalarType> kTorchStorages[] = {
    {"torch.FloatStorage", at::kFloat},
    {"torch.DoubleStorage", at::kDouble},
    {"torch.HalfStorage", at::kHalf},
    {"torch.BFloat16Storage", at::kBFloat16},
    {"torch.LongStorage", at::kLong},
    {"torch.IntStorage", at::kInt},
    {"torch.ShortStorage", at::kShort},
    {"torch.CharStorage", at::kChar},
    {"torch.ByteStorage", at::kByte},
    {"torch.BoolStorage", at::kBool},
    {"torch.ComplexFloatStorage", at::kComplexFloat},
    {"torch.ComplexDoubleStorage", at::kComplexDouble},
    {"torch.storage.UntypedStorage", at::kByte}};

inline constexpr std::pair<std::string_view, at::ScalarType> kTorchTypes[] = {
    {"torch.float32", at::kFloat},
    {"torch.float64", at::kDouble},
    {"torch.float16", at::kHalf},
    {"torch.bfloat16", at::kBFloat16},
    {"torch.int64", at::kLong},
    {"torch.int32", at::kInt},
    {"torch.int16", at::kShort},
    {"torch.int8", at::kChar},
    {"torch.uint8", at::kByte},
    {"torch.bool", at::kBool},
    {"torch.uint16", at::kUInt16},
    {"torch.uint32", at::kUInt32},
    {"torch.uint64", at::kUInt64},
    {"torch.complex64", at::kComplexFloat},
    {"torch.complex128", at::kComplexDouble},
    {"torch.float8_e4m3fn", at::kFloat8_e4m3fn},
    {"torch.float8_e4m3fnuz", at::kFloat8_e4m3fnuz},
    {"torch.float8_e5m2", at::kFloat8_e5m2},
    {"torch.float8_e5m2fnuz", at::kFloat8_e5m2fnuz},
    {"torch.float8_e8m0fnu", at::kFloat8_e8m0fnu}};

// The type that a name stands for in one of the two tables above.
template <std::size_t N>
at::ScalarType torch_type(const std::pair<std::string_view, at::ScalarType> (&table)[N],
                          const PickleNode& name, const std::string& where) {
  const auto it = std::ranges::find(table, name.text, &std::pair<std::string_view, at::ScalarType>::first);
  expect(name.kind == PickleKind::global && it != std::end(table), where, ": expected a type, found ",
         pickle_kind(name), ' ', name.text);
  return it->second;
}

struct TorchStorage {
  std::string key = {};
  at::ScalarType dtype = at::kFloat;
  std::int64_t elements = 0;
};

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
  return {id->items[2]->text, torch_type(kTorchStorages, *id->items[1], where), id->items[4]->integer};
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
  if (std::ranges::find(size, 0) != size.end()) return offset;
  std::int64_t last = offset;
  for (std::size_t i = 0; i < size.size(); ++i) {
    const auto reach = checked_product(size[i] - 1, stride[i]);
    if (!reach || *reach > std::numeric_limits<std::int64_t>::max() - 1 - last) return std::nullopt;
    last += *reach;
  }
  return last + 1;
}

inline bool is_tensor(const PickleNode& node) {
  return node.kind == PickleKind::call && (node.text.starts_with("torch._utils._rebuild_") ||
                                           node.text == "torch._tensor._rebuild_from_type_v2");
}

/// Makes a file's tensors. Those that share a storage there share it here.
class TensorRebuilder {
 public:
  explicit TensorRebuilder(const TorchFile& file) : file_(file) {}

  /// The tensor that `node` (see is_tensor) stands for; `name` is for messages.
  Tensor rebuild(const PickleNode& node, const std::string& name) {
    const std::string where = file_.where + ": " + name;
    const auto& items = node.items;
    if (node.text.starts_with(
            "torch._utils._rebuild_parameter")) {  // (tensor, gradient wanted, hooks[, state])
      const bool fits = !items.empty() && items[0]->kind == PickleKind::call && is_plain(items[0]->text);
      expect(fits, where, ": expected a parameter's tensor");
      return view(items[0]->text, items[0]->items, where);
    }
    if (node.text == "torch._tensor._rebuild_from_type_v2") {  // (function, type, arguments, state)
      const bool fits =
          items.size() == 4 && items[0]->kind == PickleKind::global && is_plain(items[0]->text) &&
          items[1]->kind == PickleKind::global &&
          (items[1]->text == "torch.Tensor" || items[1]->text == "torch.nn.parameter.Parameter") &&
          items[2]->kind == PickleKind::tuple;
      expect(fits, where, ": expected a tensor with attributes of its own");
      return view(items[0]->text, items[2]->items, where);
    }
    return view(node.text, items, where);
  }

 private:
  static bool is_plain(std::string_view function) {
    return function.starts_with("torch._utils._rebuild_tensor");
  }

  // (storage, offset, size, stride), in version 2 also gradient wanted, hooks[, marks], in version 3 gradient
  // wanted, hooks, element type[, marks].
  Tensor view(std::string_view function, const std::vector<PickleNode*>& items, const std::string& where) {
    const bool untyped = function.ends_with("_v3");
    expect(items.size() >= (untyped ? 7u : 4u) && items[1]->kind == PickleKind::integer &&
               items[1]->integer >= 0,
           where, ": expected storage, offset, size and stride");
    expect_unmarked(items, untyped ? 7 : 6, where);
    auto storage = torch_storage(*items[0], where);
    const auto size = integers(*items[2], where), stride = integers(*items[3], where);
    expect(size.size() == stride.size() && size.size() <= 64 && checked_numel(size), where, ": size ",
           to_string(size), " and stride ", to_string(stride), " do not go together");
    const auto bytes = storage_bytes(storage, where);
    if (untyped) {
      storage.dtype = torch_type(kTorchTypes, *items[6], where);
      storage.elements = static_cast<std::int64_t>(bytes.size() / c10::elementSize(storage.dtype));
    }
    const auto offset = items[1]->integer;
    const auto end = view_end(offset, size, stride);
    expect(end && *end <= storage.elements, where, ": the tensor reaches beyond its storage of ",
           storage.elements, " elements");
    return storage_tensor(storage, bytes, where).as_strided(size, stride, offset);
  }

  // A mark says that the bytes are not the values yet.
  static void expect_unmarked(const std::vector<PickleNode*>& items, std::size_t at,
                              const std::string& where) {
    for (const std::string_view mark : {"conj", "neg"}) {
      const auto* value = items.size() > at ? items[at]->find(mark) : nullptr;
      expect(!value || value->integer == 0, where, ": a tensor that is stored with the mark \"", mark,
             "\" is not read; save a copy without it (resolve_", mark, ")");
    }
  }

  std::span<std::byte> storage_bytes(const TorchStorage& storage, const std::string& where) const {
    const auto it = file_.storages.find(storage.key);
    expect(it != file_.storages.end(), where, ": storage \"", storage.key, "\" is not in the file");
    const auto size = static_cast<std::int64_t>(c10::elementSize(storage.dtype));
    const auto bytes = checked_product(storage.elements, size);
    expect(bytes && static_cast<std::uint64_t>(*bytes) == it->second.size(), where, ": storage \"",
           storage.key, "\": expected ", storage.elements, " elements of ", size, " bytes, found ",
           it->second.size(), " bytes");
    return it->second;
  }

  // One for all views: where a storage is not aligned, it is copied, and once is enough.
  const Tensor& storage_tensor(const TorchStorage& storage, std::span<std::byte> bytes,
                               const std::string& where) {
    auto [it, fresh] = made_.try_emplace({storage.key, storage.dtype});
    if (!fresh) return it->second;
    const auto used =
        bytes.first(static_cast<std::size_t>(storage.elements) * c10::elementSize(storage.dtype));
    const auto is_bool = [](std::byte b) { return b <= std::byte{1}; };
    expect(storage.dtype != at::kBool || std::ranges::all_of(used, is_bool), where,
           ": a bool is neither 0 nor 1");
    return it->second = mapped_tensor(file_.map, used, {storage.elements}, storage.dtype);
  }

  const TorchFile& file_;
  std::map<std::pair<std::string, at::ScalarType>, Tensor> made_;
};

}  // namespace detail

}  // namespace morphvlm
