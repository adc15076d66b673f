// Python pickles as data. Nothing is ever called: the few names that PyTorch's files need are kept as marks
// on their arguments, and every other name or instruction is refused.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "morphvlm/formats/bytes.hpp"
#include "morphvlm/formats/pickle_value.hpp"

namespace morphvlm {

// The limits are far above what checkpoints hold (a few dozen values a tensor), and far below what a machine
// holds. A value takes up to 130 times the bytes that ask for it.
inline constexpr std::size_t kMaxPickleMarks = 1 << 16,  ///< deepest nesting of marks
    kMaxPickleString = 1 << 26,                          ///< bytes of a string
    kMaxPickleInteger = 255,                             ///< bytes of an integer
    kMaxPickleValues = 1 << 22;                          ///< values all in all

/// Newest version of the pickle format that is read.
inline constexpr unsigned kMaxPickleProtocol = 5;

namespace detail {

/// The machine that reads one pickle.
class PickleReader {
 public:
  using Kind = PickleNode::Kind;

  PickleReader(ByteReader bytes, PickleDocument& out) : in_(std::move(bytes)), out_(out) {}

  void run() {
    const auto begin = in_.at;
    while (step(static_cast<unsigned char>(in_.read<std::uint8_t>("pickle instruction")))) {
    }
    out_.root = pop("STOP");
    expect(stack_.empty() && marks_.empty(), in_.where, ": pickle: values are left over at its end");
    out_.bytes = in_.at - begin;
  }

 private:
  // Also of pointers that are copied: a list may stand in many others.
  void spend(std::size_t values) {
    spent_ += values;
    expect(spent_ <= kMaxPickleValues, in_.where, ": pickle: more than ", kMaxPickleValues, " values");
  }

  PickleNode* push(PickleNode node) {
    spend(1 + node.items.size());
    out_.nodes.push_back(std::move(node));
    stack_.push_back(&out_.nodes.back());
    return stack_.back();
  }

  // What lies below the last mark belongs to another value.
  PickleNode* pop(std::string_view what) {
    expect(stack_.size() > (marks_.empty() ? 0 : marks_.back()), in_.where, ": pickle: ", what, " at byte ",
           in_.at - 1, " finds nothing to work on");
    PickleNode* top = stack_.back();
    stack_.pop_back();
    return top;
  }

  PickleNode* top(std::string_view what) {
    PickleNode* node = pop(what);
    stack_.push_back(node);
    return node;
  }

  std::vector<PickleNode*> pop_mark(std::string_view what) {
    expect(!marks_.empty(), in_.where, ": pickle: ", what, " at byte ", in_.at - 1, " finds no mark");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickleNode*> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }

  std::string string(std::uint64_t size) {
    expect(size <= kMaxPickleString, in_.where, ": pickle: a string of ", size, " bytes at byte ", in_.at,
           ", expected at most ", kMaxPickleString);
    const auto bytes = in_.take(size, "pickled string");
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::string line() {
    std::string text;
    for (char c = in_.read<char>("pickled line"); c != '\n'; c = in_.read<char>("pickled line")) {
      expect(text.size() < 4096, in_.where, ": pickle: a name of more than 4,096 bytes at byte ", in_.at);
      text += c;
    }
    return text;
  }

  // Little-endian two's complement. What does not fit is kept as its digits' bytes: only a magic number needs
  // it.
  void long_integer(std::uint64_t size) {
    expect(size <= kMaxPickleInteger, in_.where, ": pickle: an integer of ", size, " bytes at byte ", in_.at,
           ", expected at most ", kMaxPickleInteger);
    const std::string bytes = string(size);
    if (size > 8) {
      push({.kind = Kind::bytes, .text = bytes});
      return;
    }
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i)
      value |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
    const bool negative = !bytes.empty() && (static_cast<unsigned char>(bytes.back()) & 0x80) != 0;
    if (negative && size < 8) value |= ~std::uint64_t{0} << (8 * size);
    push({.kind = Kind::integer, .integer = static_cast<std::int64_t>(value)});
  }

  void global(const std::string& module, const std::string& name) {
    const std::string whole = module + '.' + name;
    expect(may_be_named(whole), in_.where, ": pickle: it asks for ", whole,
           ", which is not on the list of names that are read; nothing has been called");
    push({.kind = Kind::global, .text = whole});
  }

  void stack_global() {
    const PickleNode *name = pop("STACK_GLOBAL"), *module = pop("STACK_GLOBAL");
    expect(name->kind == Kind::text && module->kind == Kind::text, in_.where,
           ": pickle: STACK_GLOBAL expects two strings at byte ", in_.at - 1);
    global(module->text, name->text);
  }

  void reduce() {
    const PickleNode *arguments = pop("REDUCE"), *callee = pop("REDUCE");
    expect(callee->kind == Kind::global && arguments->kind == Kind::tuple, in_.where,
           ": pickle: REDUCE at byte ", in_.at - 1, " expects a name and a tuple, found ",
           pickle_kind(*callee), " and ", pickle_kind(*arguments));
    expect(may_be_called(callee->text), in_.where, ": pickle: it calls ", callee->text, " at byte ",
           in_.at - 1, ", which is read as a name only; nothing has been called");
    if (callee->text != kOrderedDict) {
      push({.kind = Kind::call, .text = callee->text, .items = arguments->items});
      return;
    }
    PickleNode dict{.kind = Kind::dict, .text = callee->text};
    for (const PickleNode* pairs : arguments->items) {
      spend(2 * pairs->items.size());
      for (const PickleNode* pair : pairs->items) {
        expect(pair->items.size() == 2, in_.where, ": pickle: OrderedDict expects pairs");
        dict.items.insert(dict.items.end(), pair->items.begin(), pair->items.end());
      }
    }
    push(std::move(dict));
  }

  // A module of a TorchScript archive, whose state BUILD brings.
  void new_object() {
    const PickleNode *arguments = pop("NEWOBJ"), *type = stack_.empty() ? nullptr : pop("NEWOBJ");
    const bool is_module = type != nullptr && type->kind == Kind::global && is_script_class(type->text) &&
                           arguments->kind == Kind::tuple && arguments->items.empty();
    if (!is_module) refuse(0x81);
    push({.kind = Kind::module, .text = type->text});
  }

  // State of an OrderedDict is its `_metadata`, which says nothing about the tensors.
  void build() {
    PickleNode* state = pop("BUILD");
    PickleNode* object = top("BUILD");
    if (object->kind == Kind::module && object->items.empty()) {
      object->items.push_back(state);
      return;
    }
    expect(object->kind == Kind::dict && object->text == kOrderedDict, in_.where, ": pickle: BUILD at byte ",
           in_.at - 1, " on ", pickle_kind(*object), " is refused");
  }

  void append(const std::vector<PickleNode*>& items, Kind kind, std::string_view what) {
    PickleNode* target = top(what);
    expect(target->kind == kind && (kind != Kind::dict || items.size() % 2 == 0), in_.where,
           ": pickle: ", what, " at byte ", in_.at - 1, " does not fit ", pickle_kind(*target));
    target->items.insert(target->items.end(), items.begin(), items.end());
  }

  void tuple(std::size_t count) {
    std::vector<PickleNode*> items(count);
    for (auto i = count; i-- > 0;) items[i] = pop("TUPLE");
    push({.kind = Kind::tuple, .items = std::move(items)});
  }

  void remember(std::uint64_t index) {
    spend(1);
    memo_[index] = top("PUT");
  }

  void recall(std::uint64_t index) {
    spend(1);
    const auto it = memo_.find(index);
    expect(it != memo_.end(), in_.where, ": pickle: memo ", index, " at byte ", in_.at, " was never filled");
    stack_.push_back(it->second);
  }

  void real() {
    std::uint64_t bits = 0;  // big-endian, unlike the rest
    for (int i = 0; i < 8; ++i) bits = bits << 8 | in_.read<std::uint8_t>("float");
    push({.kind = Kind::real, .real = std::bit_cast<double>(bits)});
  }

  void protocol() {
    const unsigned version = in_.read<std::uint8_t>("protocol");
    expect(version <= kMaxPickleProtocol, in_.where, ": pickle: protocol ", version, ", expected at most ",
           kMaxPickleProtocol);
  }

  // Frames only help programs that read in pieces.
  void frame() {
    const auto size = count<std::uint64_t>();
    expect(size <= in_.remaining(), in_.where, ": pickle: a frame of ", size, " bytes at byte ", in_.at,
           ", there are ", in_.remaining());
  }

  void mark() {
    expect(marks_.size() < kMaxPickleMarks, in_.where, ": pickle: nested deeper than ", kMaxPickleMarks);
    marks_.push_back(stack_.size());
  }

  template <class T>
  std::uint64_t count() {
    return in_.read<T>("pickled length");
  }
  void integer(std::int64_t value) { push({.kind = Kind::integer, .integer = value}); }
  void text(std::uint64_t size) { push({.kind = Kind::text, .text = string(size)}); }
  void data(std::uint64_t size) { push({.kind = Kind::bytes, .text = string(size)}); }

  // clang-format off
  bool step(unsigned char op) {
    switch (op) {
      case '.': return false;
      case 0x80: protocol(); return true;
      case 0x95: frame(); return true;
      case '(': mark(); return true;
      case '0': pop("POP"); return true;
      case '1': pop_mark("POP_MARK"); return true;
      case 'q': remember(count<std::uint8_t>()); return true;
      case 'r': remember(count<std::uint32_t>()); return true;
      case 0x94: remember(memo_.size()); return true;
      case 'h': recall(count<std::uint8_t>()); return true;
      case 'j': recall(count<std::uint32_t>()); return true;
      case 'R': reduce(); return true;
      case 'b': build(); return true;
      case 0x81: new_object(); return true;
      case 'Q': push({.kind = Kind::persistent, .items = {pop("BINPERSID")}}); return true;
      case 'c': { const std::string module = line(); global(module, line()); return true; }
      case 0x93: stack_global(); return true;
      default: return scalar(op) || container(op);
    }
  }

  bool scalar(unsigned char op) {
    switch (op) {
      case 'N': push({}); return true;
      case 0x88: push({.kind = Kind::boolean, .integer = 1}); return true;
      case 0x89: push({.kind = Kind::boolean, .integer = 0}); return true;
      case 'J': integer(in_.read<std::int32_t>("int")); return true;
      case 'K': integer(in_.read<std::uint8_t>("int")); return true;
      case 'M': integer(in_.read<std::uint16_t>("int")); return true;
      case 0x8a: long_integer(count<std::uint8_t>()); return true;
      case 0x8b: long_integer(count<std::uint32_t>()); return true;
      case 'G': real(); return true;
      case 'X': text(count<std::uint32_t>()); return true;
      case 0x8c: text(count<std::uint8_t>()); return true;
      case 0x8d: text(count<std::uint64_t>()); return true;
      case 'U': text(count<std::uint8_t>()); return true;   // Python 2's strings
      case 'T': text(count<std::uint32_t>()); return true;
      case 'C': data(count<std::uint8_t>()); return true;
      case 'B': data(count<std::uint32_t>()); return true;
      case 0x8e: case 0x96: data(count<std::uint64_t>()); return true;
      default: return false;
    }
  }

  bool container(unsigned char op) {
    switch (op) {
      case ']': push({.kind = Kind::list}); return true;
      case ')': push({.kind = Kind::tuple}); return true;
      case '}': push({.kind = Kind::dict}); return true;
      case 0x8f: push({.kind = Kind::set}); return true;
      case 't': push({.kind = Kind::tuple, .items = pop_mark("TUPLE")}); return true;
      case 'l': push({.kind = Kind::list, .items = pop_mark("LIST")}); return true;
      case 0x91: push({.kind = Kind::set, .items = pop_mark("FROZENSET")}); return true;
      case 0x85: tuple(1); return true;
      case 0x86: tuple(2); return true;
      case 0x87: tuple(3); return true;
      case 'a': { PickleNode* item = pop("APPEND"); append({item}, Kind::list, "APPEND"); return true; }
      case 'e': append(pop_mark("APPENDS"), Kind::list, "APPENDS"); return true;
      case 0x90: append(pop_mark("ADDITEMS"), Kind::set, "ADDITEMS"); return true;
      case 's': { PickleNode *value = pop("SETITEM"), *key = pop("SETITEM"); append({key, value}, Kind::dict, "SETITEM"); return true; }
      case 'u': append(pop_mark("SETITEMS"), Kind::dict, "SETITEMS"); return true;
      default: refuse(op);
    }
  }

  [[noreturn]] void refuse(unsigned char op) {
    const char* name = op == 0x81 ? "NEWOBJ" : op == 0x92 ? "NEWOBJ_EX" : op == 'i' ? "INST" : op == 'o' ? "OBJ"
                     : op == 0x82 ? "EXT1" : op == 0x83 ? "EXT2" : op == 0x84 ? "EXT4" : op == 'P' ? "PERSID" : "unknown";
    fail(in_.where, ": pickle: instruction ", name, " (", static_cast<int>(op), ") at byte ", in_.at - 1,
         " is not on the list of instructions that are read");
  }
  // clang-format on

  ByteReader in_;
  PickleDocument& out_;
  std::vector<PickleNode*> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, PickleNode*> memo_;
  std::size_t spent_ = 0;
};

}  // namespace detail

/// Reads the pickle that begins at the reader's position. Linear in its bytes; nothing is called, whatever it
/// says.
inline PickleDocument read_pickle(ByteReader bytes) {
  PickleDocument document;
  detail::PickleReader(std::move(bytes), document).run();
  return document;
}

}  // namespace morphvlm
