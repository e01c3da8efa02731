#include <ATen/core/Tensor.h>

#include <algorithm>
#include <unordered_set>
#include <vector>

#include "framework/base/error.hpp"
#include "framework/base/files.hpp"
#include "framework/io/pickle.hpp"
#include "framework/io/torch_file.hpp"
#include "framework/io/zip.hpp"

namespace strata::io {
namespace {

/// Pickle protocol 2 without its memo: torch.load does not need one.
class PickleText {
 public:
  PickleText() : text_("\x80\x02") {}
  PickleText& raw(std::string_view code) {
    text_ += code;
    return *this;
  }
  PickleText& global(const std::string& module, const std::string& name) {
    return raw("c" + module + "\n" + name + "\n");
  }
  PickleText& text(std::string_view value) {
    const auto size = static_cast<std::uint32_t>(value.size());
    raw("X").number(&size, 4);
    return raw(value);
  }
  PickleText& integer(std::int64_t value) {
    raw("\x8a\x08");  // LONG1 of eight bytes
    return number(&value, 8);
  }
  PickleText& tuple(at::IntArrayRef values) {
    raw("(");
    for (const std::int64_t value : values) integer(value);
    return raw("t");
  }
  const std::string& str() const { return text_; }

 private:
  PickleText& number(const void* bytes, std::size_t size) {
    return raw({static_cast<const char*>(bytes), size});
  }
  std::string text_;
};

}  // namespace

void write_torch_file(const std::string& path, const TensorMap& tensors) {
  std::vector<at::Tensor> plain;
  std::unordered_set<std::string> names;
  PickleText pickle;
  pickle.global("collections", "OrderedDict").raw(")R(");
  for (const auto& [name, tensor] : tensors) {
    const at::ScalarType type = tensor.scalar_type();
    const auto* stored = std::find_if(kTorchTypes.begin(), kTorchTypes.end(),
                                      [&](const auto& t) { return t.type == type; });
    if (stored == kTorchTypes.end() || !names.insert(name).second) {
      throw CheckpointError(path + ": tensor \"" + name +
                            "\" cannot be stored (its type, or a second of that name)");
    }
    plain.push_back(tensor.detach().to(at::kCPU).contiguous());
    const at::Tensor& own = plain.back();
    const bool typed = !stored->storage.empty();
    pickle.text(name).global("torch._utils", typed ? "_rebuild_tensor_v2" : "_rebuild_tensor_v3");
    pickle.raw("((").text("storage");
    if (typed) {
      pickle.global("torch", std::string(stored->storage));
    } else {
      pickle.global("torch.storage", "UntypedStorage");
    }
    pickle.text(std::to_string(plain.size() - 1)).text("cpu");
    pickle.integer(typed ? own.numel() : own.numel() * own.element_size()).raw("tQ");
    pickle.integer(0).tuple(own.sizes()).tuple(own.strides()).raw("\x89");
    pickle.global("collections", "OrderedDict").raw(")R");
    if (!typed) pickle.global("torch", std::string(stored->name));
    pickle.raw("tR");
  }
  pickle.raw("u.");
  try {
    write_whole(path, [&](const Put& put) {
      ZipWriter zip(put, path);
      const auto add = [&](const std::string& name, std::string_view bytes) {
        zip.add("archive/" + name, bytes.data(), bytes.size());
      };
      add("data.pkl", pickle.str());
      add("byteorder", "little");
      for (std::size_t i = 0; i < plain.size(); ++i) {
        add("data/" + std::to_string(i),
            {static_cast<const char*>(plain[i].data_ptr()),
             static_cast<std::size_t>(plain[i].numel() * plain[i].element_size())});
      }
      add("version", "3\n");
      zip.finish();
    });
  } catch (const CheckpointError&) {
    throw;
  } catch (const UserError& error) {
    throw CheckpointError(error.what());
  }
}

}  // namespace strata::io
