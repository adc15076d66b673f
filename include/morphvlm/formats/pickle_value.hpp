// What a Python pickle says, as data, and the names that it may say.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace morphvlm {

/// A value of a pickle. Pointers are into the document that owns it; lists may contain each other.
struct PickleNode {
  /// `call`: `text` names what would be called with `items`. `global`: a name alone. `persistent`: items[0]
  /// is the id. A dict with a `text` is of the type that it names. `module`: of a TorchScript archive; `text`
  /// names its class and items[0] is its state.
  enum class Kind {
    none,
    boolean,
    integer,
    real,
    text,
    bytes,
    list,
    tuple,
    set,
    dict,
    global,
    call,
    persistent,
    module
  };
  Kind kind = Kind::none;               ///< which of the members below have a meaning
  std::int64_t integer = 0;             ///< of an integer, and of a boolean: 0 or 1
  double real = 0;                      ///< of a real
  std::string text = {};                ///< of a text or bytes, and the name of a global or call
  std::vector<PickleNode*> items = {};  ///< of a dict: key, value, key, value, ...

  /// The value of a string key, the last one where it is repeated; nullptr: none.
  const PickleNode* find(std::string_view key) const {
    if (kind != Kind::dict) return nullptr;
    for (std::size_t i = items.size(); i >= 2; i -= 2) {
      if (items[i - 2]->kind == Kind::text && items[i - 2]->text == key) return items[i - 1];
    }
    return nullptr;
  }
};

/// A pickle that has been read.
struct PickleDocument {
  std::deque<PickleNode> nodes = {};  ///< all values; they stay where they are
  const PickleNode* root = nullptr;   ///< the value that was pickled
  std::size_t bytes = 0;              ///< that it took
};

namespace detail {

inline constexpr std::string_view kOrderedDict = "collections.OrderedDict";

// Names that may stand where something is called. The first is understood by the reader of pickles, the
// rebuilding ones by that of PyTorch's files; of the others the arguments are kept, and nobody asks for them.
inline constexpr std::string_view kPickleCalls[] = {kOrderedDict,
                                                    "collections.Counter",
                                                    "__builtin__.set",
                                                    "builtins.set",
                                                    "_codecs.encode",
                                                    "torch.Size",
                                                    "torch.device",
                                                    "torch._utils._rebuild_tensor",
                                                    "torch._utils._rebuild_tensor_v2",
                                                    "torch._utils._rebuild_tensor_v3",
                                                    "torch._utils._rebuild_parameter",
                                                    "torch._utils._rebuild_parameter_with_state",
                                                    "torch._tensor._rebuild_from_type_v2",
                                                    "torch.jit._pickle.build_intlist",
                                                    "torch.jit._pickle.build_doublelist",
                                                    "torch.jit._pickle.build_boollist",
                                                    "torch.jit._pickle.build_tensorlist",
                                                    "torch.jit._pickle.restore_type_tag"};

// Names that may stand as values: types of storages, of elements and of tensors.
inline constexpr std::string_view kPickleTypes[] = {"torch.FloatStorage",
                                                    "torch.DoubleStorage",
                                                    "torch.HalfStorage",
                                                    "torch.BFloat16Storage",
                                                    "torch.LongStorage",
                                                    "torch.IntStorage",
                                                    "torch.ShortStorage",
                                                    "torch.CharStorage",
                                                    "torch.ByteStorage",
                                                    "torch.BoolStorage",
                                                    "torch.ComplexFloatStorage",
                                                    "torch.ComplexDoubleStorage",
                                                    "torch.storage.UntypedStorage",
                                                    "torch.float32",
                                                    "torch.float64",
                                                    "torch.float16",
                                                    "torch.bfloat16",
                                                    "torch.int64",
                                                    "torch.int32",
                                                    "torch.int16",
                                                    "torch.int8",
                                                    "torch.uint8",
                                                    "torch.uint16",
                                                    "torch.uint32",
                                                    "torch.uint64",
                                                    "torch.bool",
                                                    "torch.complex64",
                                                    "torch.complex128",
                                                    "torch.float8_e4m3fn",
                                                    "torch.float8_e4m3fnuz",
                                                    "torch.float8_e5m2",
                                                    "torch.float8_e5m2fnuz",
                                                    "torch.float8_e8m0fnu",
                                                    "torch.Tensor",
                                                    "torch.nn.parameter.Parameter"};

inline bool may_be_called(std::string_view name) {
  return std::ranges::find(kPickleCalls, name) != std::end(kPickleCalls);
}

// Classes that a TorchScript archive defines in its own code, which is not read. They are names here: objects
// of them are made of nothing but the state that the pickle gives them.
inline bool is_script_class(std::string_view name) { return name.starts_with("__torch__."); }

inline bool may_be_named(std::string_view name) {
  return may_be_called(name) || is_script_class(name) ||
         std::ranges::find(kPickleTypes, name) != std::end(kPickleTypes);
}

inline std::string_view pickle_kind(const PickleNode& node) {
  constexpr std::string_view kKinds[] = {"None",   "a bool",    "an int",          "a float", "a string",
                                         "bytes",  "a list",    "a tuple",         "a set",   "a dict",
                                         "a name", "an object", "a persistent id", "a module"};
  return kKinds[static_cast<std::size_t>(node.kind)];
}

}  // namespace detail

}  // namespace morphvlm
