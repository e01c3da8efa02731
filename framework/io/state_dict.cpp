#include "framework/io/state_dict.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_set>

#include "framework/base/error.hpp"

namespace strata::io {
namespace {

using Kind = PickledValue::Kind;

constexpr int kMaxNesting = 100;
constexpr std::size_t kMaxVisits = 1 << 20;
constexpr std::size_t kMaxNameSize = 4096;
constexpr std::size_t kMaxNames = 1 << 28;  // bytes of all names together

/// The tensor that `description` speaks of, once every number of it holds.
at::Tensor make_tensor(const PickledTensor& description, const std::string& name,
                       const MappedFile& file, const std::string& source, const FindStorage& find) {
  const auto fail = [&](const std::string& what) {
    throw CheckpointError(
        fmt::format("{}: byte {}: tensor \"{}\": {}", source, description.at, name, what));
  };
  const auto& sizes = description.sizes;
  const std::int64_t element = at::elementSize(description.type);
  // Sums of products of counts from the file: every one may overflow.
  const auto times = [&](std::int64_t a, std::int64_t b) {
    std::int64_t product = 0;
    if (__builtin_mul_overflow(a, b, &product)) fail("has an impossible shape");
    return product;
  };
  const auto plus = [&](std::int64_t a, std::int64_t b) {
    std::int64_t sum = 0;
    if (__builtin_add_overflow(a, b, &sum)) fail("has an impossible place in its storage");
    return sum;
  };
  std::int64_t count = 1, last = description.offset;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == 0) count = 0;
  }
  for (std::size_t i = 0; count != 0 && i < sizes.size(); ++i) {
    count = times(count, sizes[i]);
    last = plus(last, times(sizes[i] - 1, description.strides[i]));
  }
  const std::int64_t begin =
      plus(times(description.view, at::elementSize(description.storage_type)),
           times(description.offset, element));
  const auto options = at::TensorOptions().dtype(description.type);
  if (count == 0) {  // its strides may overflow all the same
    std::int64_t stride = element;
    for (const std::int64_t extent : sizes) {
      stride = times(stride, std::max<std::int64_t>(extent, 1));
    }
    return at::empty(sizes, options);
  }
  const std::int64_t end = plus(begin, times(plus(last - description.offset, 1), element));
  const StorageBytes storage = find(description);
  const std::int64_t said =
      times(description.storage_count, at::elementSize(description.storage_type));
  if (static_cast<std::uint64_t>(said) != storage.size) {
    fail(fmt::format("its storage \"{}\" is said to have {} bytes, the file has {} of it",
                     description.storage, said, storage.size));
  }
  if (static_cast<std::uint64_t>(end) > storage.size) {
    fail(fmt::format("of shape [{}] ends at byte {} of its storage \"{}\", which has {}",
                     fmt::join(sizes, ", "), end, description.storage, storage.size));
  }
  // A few bytes repeated (stride 0) can claim any size; nobody's weights do.
  if (static_cast<std::uint64_t>(count) > file.size) {
    fail(fmt::format("claims {} elements, the whole file has {} bytes", count, file.size));
  }
  char* data = file.data.get() + storage.begin + begin;
  if (reinterpret_cast<std::uintptr_t>(data) % static_cast<std::size_t>(element) == 0) {
    return at::from_blob(
        data, sizes, description.strides, [keep = file.data](void*) {}, options);
  }
  // Old files and other writers need not align; here one copy makes up for it.
  const std::size_t bytes = static_cast<std::size_t>(end - begin);
  const at::Tensor flat = at::empty({static_cast<std::int64_t>(bytes) / element}, options);
  std::memcpy(flat.data_ptr(), data, bytes);
  return flat.as_strided(sizes, description.strides);
}

/// Finds the dict that holds the weights, and makes its tensors.
class StateDict {
 public:
  StateDict(const Pickle& pickle, const MappedFile& file, const std::string& source,
            const FindStorage& find)
      : pickle_(pickle), file_(file), source_(source), find_(find) {}

  TensorFile pick(const std::string& select) {
    const PickledValue* chosen = &pickle_[pickle_.root];
    if (chosen->kind != Kind::dict && chosen->kind != Kind::object) {
      throw CheckpointError(source_ + ": holds no dict of tensors" +
                            (chosen->kind == Kind::tensor ? ", only one without a name" : ""));
    }
    if (select.empty()) {
      choose(chosen);
    } else {
      follow(chosen, select);
    }
    walk(*chosen, "", 0);
    if (out_.tensors.empty()) {
      throw CheckpointError(source_ + ": holds no tensors" +
                            (out_.picked.empty() ? "" : " under \"" + out_.picked + "\""));
    }
    strip_wrappers();
    return std::move(out_);
  }

 private:
  bool is_dict(const PickledValue& value) const {
    return value.kind == Kind::dict || value.kind == Kind::object;
  }

  // Tensors in it, or in modules of it.
  bool holds_tensors(const PickledValue& value) {
    for (std::size_t i = 1; i < value.items.size() && ++visits_ < kMaxVisits; i += 2) {
      const Kind kind = pickle_[value.items[i]].kind;
      if (kind == Kind::tensor || (value.kind == Kind::object && kind == Kind::object)) return true;
    }
    return false;
  }

  std::string key_of(const PickledValue& dict, std::size_t i) const {
    const PickledValue& key = pickle_[dict.items[i]];
    if (key.kind == Kind::text) return std::string(key.text.substr(0, kMaxNameSize + 1));
    if (key.kind == Kind::integer) return std::to_string(key.number);
    return "";
  }

  void count_name(const std::string& name) {
    if ((name_bytes_ += name.size()) > kMaxNames) {
      throw CheckpointError(source_ +
                            ": the names of its tensors take more than 256 MiB: that is no file of "
                            "weights");
    }
  }

  // Every dict with tensors that is not inside of another one.
  void candidates(const PickledValue& dict, const std::string& prefix, int depth,
                  std::vector<std::pair<std::string, const PickledValue*>>& found) {
    if (depth > 3) return;
    for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      if (++visits_ > kMaxVisits) return;
      const PickledValue& value = pickle_[dict.items[i + 1]];
      if (!is_dict(value)) continue;
      const std::string name = prefix + key_of(dict, i);
      count_name(name);
      if (holds_tensors(value)) {
        found.emplace_back(name, &value);
      } else {
        candidates(value, name + ".", depth + 1, found);
      }
    }
  }

  void choose(const PickledValue*& chosen) {
    if (chosen->kind == Kind::object) return;
    std::vector<std::pair<std::string, const PickledValue*>> found;
    candidates(*chosen, "", 0, found);
    // An optimizer's state is no model.
    std::erase_if(found, [](const auto& one) { return one.first.starts_with("optim"); });
    const bool outermost = holds_tensors(*chosen);
    if (found.empty() && outermost) return;
    if (found.empty()) throw CheckpointError(source_ + ": holds no dict of tensors");
    constexpr std::array kUsual{
        "state_dict", "model_state_dict", "model_state", "model",   "module", "net",
        "network",    "params",           "weights",     "teacher", "student"};
    const std::pair<std::string, const PickledValue*>* best = nullptr;
    for (const std::string_view usual : kUsual) {
      for (const auto& one : found) {
        const bool under =
            one.first == usual || (one.first.starts_with(usual) && one.first[usual.size()] == '.');
        if (best == nullptr && under) best = &one;
      }
    }
    if (best == nullptr && outermost) return;
    if (best == nullptr && found.size() == 1) best = &found.front();
    std::vector<std::string> names;
    for (const auto& one : found) {
      if (&one != best) names.push_back(one.first);
    }
    if (best == nullptr) {
      throw CheckpointError(fmt::format("{}: holds weights under \"{}\"; choose one with select",
                                        source_, fmt::join(names, "\", \"")));
    }
    out_.picked = best->first;
    out_.others = std::move(names);
    chosen = best->second;
  }

  const PickledValue* dict_at(const PickledValue& dict, const std::string& key) const {
    for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      const PickledValue& value = pickle_[dict.items[i + 1]];
      if (is_dict(value) && key_of(dict, i) == key) return &value;
    }
    return nullptr;
  }

  // Keys may have dots of their own, so the longest one that is there goes first.
  void follow(const PickledValue*& chosen, const std::string& select) {
    std::string rest = select;
    while (!rest.empty()) {
      std::size_t size = rest.size();
      const PickledValue* next = nullptr;
      for (;;) {
        next = dict_at(*chosen, rest.substr(0, size));
        if (next != nullptr) break;
        if (size == 0 || (size = rest.rfind('.', size - 1)) == std::string::npos) break;
      }
      if (next == nullptr) {
        std::vector<std::string> keys;
        for (std::size_t i = 0; i + 1 < chosen->items.size() && keys.size() < 1000; i += 2) {
          if (is_dict(pickle_[chosen->items[i + 1]])) keys.push_back(key_of(*chosen, i));
        }
        std::string hint = did_you_mean(rest, keys);
        keys.resize(std::min<std::size_t>(keys.size(), 10));
        if (hint.empty() && !keys.empty()) {
          hint = fmt::format("; it has \"{}\"", fmt::join(keys, "\", \""));
        }
        throw CheckpointError(source_ + ": select: the file has no dict \"" + select + "\"" + hint);
      }
      chosen = next;
      rest = size < rest.size() ? rest.substr(size + 1) : "";
    }
    out_.picked = select;
  }

  // Attributes of modules and dicts inside of dicts get dotted names; other values are no weights.
  void walk(const PickledValue& dict, const std::string& prefix, int depth) {
    if (depth > kMaxNesting) {
      throw CheckpointError(
          fmt::format("{}: byte {}: nests deeper than {} levels, or contains itself", source_,
                      dict.at, kMaxNesting));
    }
    for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      const PickledValue& value = pickle_[dict.items[i + 1]];
      if (value.kind != Kind::tensor && !is_dict(value)) continue;
      if (++visits_ > kMaxVisits) {
        throw CheckpointError(
            fmt::format("{}: byte {}: the dicts of the file refer to each other {} "
                        "times: that is no file of weights",
                        source_, dict.at, kMaxVisits));
      }
      const std::string key = key_of(dict, i);
      if (key.empty() || prefix.size() + key.size() > kMaxNameSize) {
        throw CheckpointError(fmt::format(
            "{}: byte {}: a tensor or dict has a name that is empty or longer than {} bytes",
            source_, value.at, kMaxNameSize));
      }
      const std::string name = prefix + key;
      count_name(name);
      if (value.kind != Kind::tensor) {
        walk(value, name + ".", depth + 1);
        continue;
      }
      if (!names_.insert(name).second) {
        throw CheckpointError(fmt::format("{}: byte {}: the file names tensor \"{}\" twice",
                                          source_, value.at, name));
      }
      out_.tensors.emplace_back(
          name, make_tensor(pickle_.tensors[static_cast<std::size_t>(value.number)], name, file_,
                            source_, find_));
    }
  }

  // DistributedDataParallel and torch.compile put their attribute's name before all others.
  void strip_wrappers() {
    for (bool again = true; again;) {
      again = false;
      for (const std::string_view wrapper : {"module.", "_orig_mod."}) {
        const auto wrapped = [&](const auto& one) {
          return one.first.starts_with(wrapper) && one.first.size() > wrapper.size();
        };
        if (!std::all_of(out_.tensors.begin(), out_.tensors.end(), wrapped)) continue;
        for (auto& [name, tensor] : out_.tensors) name.erase(0, wrapper.size());
        again = true;
      }
    }
  }

  const Pickle& pickle_;
  const MappedFile& file_;
  const std::string& source_;
  const FindStorage& find_;
  TensorFile out_;
  std::unordered_set<std::string> names_;
  std::size_t visits_ = 0, name_bytes_ = 0;
};

}  // namespace

TensorFile read_state_dict(const Pickle& pickle, const MappedFile& file, const std::string& source,
                           const FindStorage& find, const std::string& select) {
  return StateDict(pickle, file, source, find).pick(select);
}

}  // namespace strata::io
