#include "framework/io/pickle.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstring>
#include <unordered_map>

#include "framework/base/error.hpp"
#include "framework/io/pickle_globals.hpp"

namespace strata::io {
namespace {

using Kind = PickledValue::Kind;
using Index = std::uint32_t;

constexpr std::size_t kMaxValues = 1 << 22;  // a checkpoint with its optimizer has some 10^5
constexpr std::size_t kMaxReferences = 1 << 24;
constexpr std::size_t kMaxMarks = 100'000;
constexpr std::size_t kMaxDimensions = 64;

class Machine {
 public:
  Machine(std::string_view bytes, std::uint64_t begin, std::uint64_t offset,
          const std::string& source)
      : bytes_(bytes), next_(begin), offset_(offset), source_(source) {}

  Pickle run() {
    for (;;) {
      at_ = next_;
      const auto code = static_cast<unsigned char>(take(1).front());
      if (code == '.') break;
      step(code);
    }
    out_.root = pop();
    out_.end = next_;
    return std::move(out_);
  }

 private:
  struct Storage {
    std::string_view key;
    at::ScalarType type;
    std::int64_t count, view;
  };

  [[noreturn]] void fail(const std::string& what) const {
    throw CheckpointError(fmt::format("{}: byte {}: {}", source_, offset_ + at_, what));
  }

  // --- bytes ---
  std::string_view take(std::uint64_t size) {
    if (size > bytes_.size() - next_) {
      fail(
          fmt::format("the pickle wants {} more bytes, there are {}: the file is truncated or "
                      "damaged",
                      size, bytes_.size() - next_));
    }
    const std::string_view taken = bytes_.substr(next_, size);
    next_ += size;
    return taken;
  }
  template <class T>
  T number() {
    T value{};
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string_view line() {
    const std::size_t end = bytes_.find('\n', next_);
    if (end == std::string_view::npos) fail("a line of the pickle has no end");
    const std::string_view text = bytes_.substr(next_, end - next_);
    next_ = end + 1;
    return text;
  }
  std::int64_t decimal(std::string_view text) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
      fail("a number of the pickle is none");
    }
    return value;
  }

  // --- stack ---
  Index add(PickledValue value) {
    if (out_.values.size() >= kMaxValues) {
      fail(fmt::format("the pickle has more than {} values: that is no file of weights",
                       kMaxValues));
    }
    value.at = offset_ + at_;
    out_.values.push_back(std::move(value));
    return static_cast<Index>(out_.values.size() - 1);
  }
  void push(Index index) {
    // References cost two bytes in the file and four here, and a dict keeps its own.
    if (++references_ > kMaxReferences) {
      fail(fmt::format("the pickle has more than {} references: that is no file of weights",
                       kMaxReferences));
    }
    stack_.push_back(index);
  }
  void push(PickledValue value) { push(add(std::move(value))); }
  void push(Kind kind, std::int64_t value = 0) { push({.kind = kind, .number = value}); }
  void push(Kind kind, std::string_view text) { push({.kind = kind, .text = text}); }
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Index pop() {
    if (stack_.size() <= floor()) fail("the pickle takes a value where there is none");
    const Index top = stack_.back();
    stack_.pop_back();
    return top;
  }
  PickledValue& top() {
    if (stack_.size() <= floor()) fail("the pickle uses a value where there is none");
    return out_.values[stack_.back()];
  }
  std::vector<Index> pop_to_mark() {
    if (marks_.empty()) fail("the pickle goes back to a mark that was not set");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Index> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  void push_sequence(std::size_t count) {
    std::vector<Index> items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    push({.kind = Kind::sequence, .items = std::move(items)});
  }
  void put(std::uint64_t slot) {
    top();
    memo_[slot] = stack_.back();
  }
  void get(std::uint64_t slot) {
    const auto found = memo_.find(slot);
    if (found == memo_.end())
      fail(fmt::format("the pickle recalls value {} that it never kept", slot));
    push(found->second);
  }

  // --- building ---
  void append(const std::vector<Index>& items) {
    PickledValue& list = top();
    if (list.kind == Kind::inert) return;
    if (list.kind != Kind::sequence) fail("the pickle appends to what is no list");
    list.items.insert(list.items.end(), items.begin(), items.end());
  }
  void set_items(const std::vector<Index>& items) {
    if (items.size() % 2 != 0) fail("the pickle has a key without a value");
    PickledValue& dict = top();
    if (dict.kind == Kind::inert) return;
    if (dict.kind != Kind::dict) fail("the pickle sets items of what is no dict");
    dict.items.insert(dict.items.end(), items.begin(), items.end());
  }

  void global(std::string_view module, std::string_view name) {
    const auto meaning = meaning_of(module, name);
    if (!meaning) {
      fail(
          fmt::format("global \"{}.{}\" is not among those that weights need; nothing in a weight "
                      "file is executed, so it is refused; save only tensors, in Python: "
                      "torch.save(model.state_dict(), PATH)",
                      printable(module), printable(name)));
    }
    push({.kind = Kind::global, .number = static_cast<std::int64_t>(*meaning), .text = name});
  }
  static std::string printable(std::string_view text) {
    std::string out;
    for (const char c : text.substr(0, 80)) {
      out += c >= 0x20 && c < 0x7f ? std::string(1, c) : fmt::format("\\x{:02x}", c & 0xff);
    }
    return out;
  }

  const PickledValue& argument(const PickledValue& arguments, std::size_t n, Kind kind,
                               const char* what) {
    if (n >= arguments.items.size() || out_.values[arguments.items[n]].kind != kind) {
      fail(fmt::format("argument {} of {} is missing or of another type", n, what));
    }
    return out_.values[arguments.items[n]];
  }
  std::vector<std::int64_t> counts(const PickledValue& sequence, const char* what) {
    std::vector<std::int64_t> numbers;
    if (sequence.items.size() > kMaxDimensions) {
      fail(fmt::format("{}: a tensor has {} dimensions", what, sequence.items.size()));
    }
    for (const Index index : sequence.items) {
      const PickledValue& value = out_.values[index];
      if (value.kind != Kind::integer || value.number < 0) {
        fail(fmt::format("{}: a size or stride of a tensor is no count", what));
      }
      numbers.push_back(value.number);
    }
    return numbers;
  }

  // (storage, offset, sizes, strides, …); v3 has the type at 6.
  void rebuild_tensor(const PickledValue& arguments, Meaning meaning) {
    const char* what = "_rebuild_tensor";
    const Storage& storage =
        storages_[static_cast<std::size_t>(argument(arguments, 0, Kind::storage, what).number)];
    PickledTensor tensor;
    tensor.storage = storage.key;
    tensor.storage_type = tensor.type = storage.type;
    tensor.storage_count = storage.count;
    tensor.view = storage.view;
    tensor.offset = argument(arguments, 1, Kind::integer, what).number;
    tensor.sizes = counts(argument(arguments, 2, Kind::sequence, what), what);
    tensor.strides = counts(argument(arguments, 3, Kind::sequence, what), what);
    tensor.at = offset_ + at_;
    if (meaning == Meaning::tensor_v3) {
      const PickledValue& type = argument(arguments, 6, Kind::global, what);
      const auto known = type_of(static_cast<Meaning>(type.number), Meaning::dtype);
      if (!known) fail("argument 6 of _rebuild_tensor is no type of tensors");
      tensor.type = *known;
    }
    if (tensor.offset < 0) fail("a tensor begins before its storage");
    if (tensor.sizes.size() != tensor.strides.size()) {
      fail(fmt::format("a tensor has {} sizes and {} strides", tensor.sizes.size(),
                       tensor.strides.size()));
    }
    references_ += tensor.sizes.size() + tensor.strides.size();
    out_.tensors.push_back(std::move(tensor));
    push(Kind::tensor, static_cast<std::int64_t>(out_.tensors.size()) - 1);
  }

  void call(std::int64_t function, Index arguments_index) {
    // A copy: `out_.values` grows below.
    const PickledValue arguments = out_.values[arguments_index];
    references_ += arguments.items.size();
    if (arguments.kind != Kind::sequence) fail("the pickle calls with what is no tuple");
    const auto meaning = static_cast<Meaning>(function);
    switch (meaning) {
      case Meaning::ordered_dict: {
        PickledValue dict{.kind = Kind::dict};
        // Protocols 0 and 1 give the pairs as a list.
        if (arguments.items.size() == 1 && out_.values[arguments.items[0]].kind == Kind::sequence) {
          for (const Index pair : out_.values[arguments.items[0]].items) {
            const PickledValue& two = out_.values[pair];
            if (two.kind != Kind::sequence || two.items.size() != 2) {
              fail("OrderedDict is made of what are no pairs");
            }
            references_ += 2;
            dict.items.insert(dict.items.end(), two.items.begin(), two.items.end());
          }
        }
        return push(std::move(dict));
      }
      case Meaning::sequence: {
        PickledValue sequence{.kind = Kind::sequence};
        if (!arguments.items.empty()) {
          const PickledValue& items = out_.values[arguments.items[0]];
          if (items.kind == Kind::sequence) sequence.items = items.items;
          references_ += sequence.items.size();
        }
        return push(std::move(sequence));
      }
      case Meaning::tensor_v1:
      case Meaning::tensor_v2:
      case Meaning::tensor_v3:
        return rebuild_tensor(arguments, meaning);
      case Meaning::parameter:
        argument(arguments, 0, Kind::tensor, "_rebuild_parameter");
        return push(arguments.items[0]);
      case Meaning::tensor_like: {
        const std::int64_t inner =
            argument(arguments, 0, Kind::global, "_rebuild_from_type_v2").number;
        if (static_cast<Meaning>(inner) == Meaning::tensor_like) {
          fail("_rebuild_from_type_v2 is given itself");
        }
        argument(arguments, 2, Kind::sequence, "_rebuild_from_type_v2");
        return call(inner, arguments.items[2]);
      }
      case Meaning::pass_first:
        if (arguments.items.empty()) return push(Kind::inert);
        return push(arguments.items[0]);
      case Meaning::attribute:
        if (static_cast<Meaning>(argument(arguments, 0, Kind::global, "getattr").number) !=
            Meaning::inert) {
          fail("getattr of what is no inert class");
        }
        return push(Kind::inert);
      case Meaning::inert:
        return push(Kind::inert);
      default:
        fail("the pickle calls what is no function of weight files");
    }
  }

  void reduce() {
    const Index arguments = pop();
    const Index function = pop();
    const PickledValue& callee = out_.values[function];
    if (callee.kind != Kind::global) fail("the pickle calls what is no global");
    call(callee.number, arguments);
  }

  void new_object() {
    pop();  // arguments
    const PickledValue& type = out_.values[pop()];
    if (type.kind != Kind::global) fail("the pickle makes an object of what is no class");
    switch (static_cast<Meaning>(type.number)) {
      case Meaning::ordered_dict:
        return push(PickledValue{.kind = Kind::dict});
      case Meaning::script_class:
        return push(PickledValue{.kind = Kind::object});
      case Meaning::inert:
        return push(Kind::inert);
      default:
        fail("the pickle makes an object of what is no class");
    }
  }

  // Attributes of a TorchScript object; those of other values (hooks, metadata) are not needed.
  void build() {
    const Index state = pop();
    PickledValue& object = top();
    if (object.kind != Kind::object) return;
    const PickledValue& attributes = out_.values[state];
    if (attributes.kind != Kind::dict) fail("a TorchScript object has attributes that are no dict");
    references_ += attributes.items.size();
    object.items = attributes.items;
  }

  // ('storage', type, key, device, count[, view]): the data of a tensor, elsewhere in the file.
  void persistent_id() {
    const PickledValue id = out_.values[pop()];
    references_ += id.items.size();
    const char* what = "a persistent id";
    if (id.kind != Kind::sequence) fail("a persistent id is no tuple");
    const std::string_view sort = argument(id, 0, Kind::text, what).text;
    if (sort != "storage") {
      fail(
          fmt::format("a persistent id is of sort \"{}\", expected \"storage\"; save only tensors, "
                      "in Python: torch.save(model.state_dict(), PATH)",
                      printable(sort)));
    }
    const auto meaning = static_cast<Meaning>(argument(id, 1, Kind::global, what).number);
    auto type = type_of(meaning, Meaning::storage);
    if (meaning == Meaning::untyped_storage) type = at::kByte;
    if (!type) fail("a storage has a type that is not known here");
    Storage storage{argument(id, 2, Kind::text, what).text, *type,
                    argument(id, 4, Kind::integer, what).number, 0};
    if (storage.count < 0) fail("a storage has a negative size");
    // Old files: a storage that is a part of another, (key, offset, size).
    if (id.items.size() > 5 && out_.values[id.items[5]].kind != Kind::none) {
      const PickledValue& view = argument(id, 5, Kind::sequence, what);
      storage.view = argument(view, 1, Kind::integer, what).number;
      const std::int64_t size = argument(view, 2, Kind::integer, what).number;
      if (storage.view < 0 || size < 0 || storage.view > storage.count ||
          size > storage.count - storage.view) {
        fail("a storage is a part of another that is not in it");
      }
    }
    storages_.push_back(storage);
    push(Kind::storage, static_cast<std::int64_t>(storages_.size()) - 1);
  }

  void long_number(std::uint64_t size) {
    const std::string_view digits = take(size);
    if (size > 8) return push(Kind::bytes, digits);
    std::uint64_t value = size > 0 && (digits.back() & 0x80) != 0 ? ~std::uint64_t{0} : 0;
    for (std::size_t i = digits.size(); i-- > 0;) {
      value = value << 8 | static_cast<unsigned char>(digits[i]);
    }
    push(Kind::integer, static_cast<std::int64_t>(value));
  }

  void quoted(std::string_view text) {
    if (text.size() < 2 || text.front() != text.back())
      fail("a string of the pickle has no quotes");
    push(Kind::text, text.substr(1, text.size() - 2));
  }

  void step(unsigned char code) {
    switch (code) {
      // frame and stack
      case 0x80: {
        const auto protocol = number<std::uint8_t>();
        if (protocol > 5)
          fail(fmt::format("pickle protocol {} is not known, up to 5 are", protocol));
        return;
      }
      case 0x95: {
        const auto size = number<std::uint64_t>();
        if (size > bytes_.size() - next_) fail("a frame of the pickle is longer than the file");
        return;
      }
      case '(':
        if (marks_.size() >= kMaxMarks)
          fail("the pickle nests too deep: that is no file of weights");
        return marks_.push_back(stack_.size());
      case '0':
        if (stack_.size() == floor() && !marks_.empty()) return marks_.pop_back();
        pop();
        return;
      case '1':
        pop_to_mark();
        return;
      case '2':
        top();
        return push(stack_.back());
      // plain values
      case 'N':
        return push(Kind::none);
      case 0x88:
      case 0x89:
        return push(Kind::boolean, code == 0x88);
      case 'I': {
        const std::string_view text = line();
        if (text == "00" || text == "01") return push(Kind::boolean, text == "01");
        return push(Kind::integer, decimal(text));
      }
      case 'L': {
        std::string_view text = line();
        if (text.ends_with('L')) text.remove_suffix(1);
        return push(Kind::integer, decimal(text));
      }
      case 'J':
        return push(Kind::integer, number<std::int32_t>());
      case 'K':
        return push(Kind::integer, number<std::uint8_t>());
      case 'M':
        return push(Kind::integer, number<std::uint16_t>());
      case 0x8a:
        return long_number(number<std::uint8_t>());
      case 0x8b:
        return long_number(number<std::uint32_t>());
      case 'F':
        return push(Kind::real, line());
      case 'G':
        return push(Kind::real, take(8));
      case 'S':
        return quoted(line());
      case 'V':
        return push(Kind::text, line());
      case 'U':
        return push(Kind::text, take(number<std::uint8_t>()));
      case 0x8c:
        return push(Kind::text, take(number<std::uint8_t>()));
      case 'T':
      case 'X':
        return push(Kind::text, take(number<std::uint32_t>()));
      case 0x8d:
        return push(Kind::text, take(number<std::uint64_t>()));
      case 'C':
        return push(Kind::bytes, take(number<std::uint8_t>()));
      case 'B':
        return push(Kind::bytes, take(number<std::uint32_t>()));
      case 0x8e:
      case 0x96:
        return push(Kind::bytes, take(number<std::uint64_t>()));
      // containers
      case ')':
      case ']':
      case 0x8f:
        return push(PickledValue{.kind = Kind::sequence});
      case '}':
        return push(PickledValue{.kind = Kind::dict});
      case 't':
      case 'l':
      case 0x91:
        return push({.kind = Kind::sequence, .items = pop_to_mark()});
      case 0x85:
      case 0x86:
      case 0x87:
        return push_sequence(code - 0x84U);
      case 'd': {
        const auto items = pop_to_mark();
        push(PickledValue{.kind = Kind::dict});
        return set_items(items);
      }
      case 'a':
        return append({pop()});
      case 'e':
      case 0x90:
        return append(pop_to_mark());
      case 's': {
        const Index value = pop(), key = pop();
        return set_items({key, value});
      }
      case 'u':
        return set_items(pop_to_mark());
      // memo
      case 'q':
        return put(number<std::uint8_t>());
      case 'r':
        return put(number<std::uint32_t>());
      case 'p':
        return put(static_cast<std::uint64_t>(decimal(line())));
      case 0x94:
        return put(memo_.size());
      case 'h':
        return get(number<std::uint8_t>());
      case 'j':
        return get(number<std::uint32_t>());
      case 'g':
        return get(static_cast<std::uint64_t>(decimal(line())));
      // names, calls, objects
      case 'c': {
        const std::string_view module = line();
        return global(module, line());
      }
      case 0x93: {
        const PickledValue& name = out_.values[pop()];
        const PickledValue& module = out_.values[pop()];
        if (name.kind != Kind::text || module.kind != Kind::text) {
          fail("a global of the pickle has no name");
        }
        return global(module.text, name.text);
      }
      case 'i': {
        const std::string_view module = line();
        global(module, line());  // refuses what is not allowed by its name
        fail("instances of old Python classes are not read");
      }
      case 'R':
        return reduce();
      case 0x81:
        return new_object();
      case 'b':
        return build();
      case 'Q':
        return persistent_id();
      default:
        fail(
            fmt::format("opcode 0x{:02x} is no part of weight files; nothing in them is executed, "
                        "so it is refused",
                        code));
    }
  }

  std::string_view bytes_;
  std::uint64_t next_, at_ = 0, offset_;
  const std::string& source_;
  Pickle out_;
  std::vector<Index> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, Index> memo_;
  std::vector<Storage> storages_;
  std::size_t references_ = 0;
};

}  // namespace

const PickledValue* Pickle::find(const PickledValue& dict, std::string_view key) const {
  if (dict.kind != Kind::dict && dict.kind != Kind::object) return nullptr;
  for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const PickledValue& name = values[dict.items[i]];
    if (name.kind == Kind::text && name.text == key) return &values[dict.items[i + 1]];
  }
  return nullptr;
}

Pickle read_pickle(std::string_view bytes, std::uint64_t begin, std::uint64_t offset,
                   const std::string& source) {
  return Machine(bytes, begin, offset, source).run();
}

}  // namespace strata::io
