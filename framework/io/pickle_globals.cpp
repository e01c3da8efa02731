#include "framework/io/pickle_globals.hpp"

#include <array>

#include "framework/io/pickle.hpp"

namespace strata::io {
namespace {

struct KnownGlobal {
  std::string_view module, name;
  Meaning meaning;
};

// Only constructors of values, none of which runs anything in our reading of them.
constexpr std::array kKnownGlobals{
    KnownGlobal{"collections", "OrderedDict", Meaning::ordered_dict},
    KnownGlobal{"collections", "defaultdict", Meaning::ordered_dict},
    KnownGlobal{"collections", "Counter", Meaning::inert},
    KnownGlobal{"collections", "deque", Meaning::inert},
    KnownGlobal{"builtins", "set", Meaning::sequence},
    KnownGlobal{"__builtin__", "set", Meaning::sequence},
    KnownGlobal{"builtins", "frozenset", Meaning::sequence},
    KnownGlobal{"__builtin__", "frozenset", Meaning::sequence},
    KnownGlobal{"builtins", "list", Meaning::inert},
    KnownGlobal{"builtins", "dict", Meaning::inert},
    KnownGlobal{"builtins", "int", Meaning::inert},
    KnownGlobal{"builtins", "float", Meaning::inert},
    KnownGlobal{"builtins", "str", Meaning::inert},
    KnownGlobal{"builtins", "bool", Meaning::inert},
    KnownGlobal{"builtins", "object", Meaning::inert},
    KnownGlobal{"builtins", "complex", Meaning::inert},
    KnownGlobal{"builtins", "bytearray", Meaning::inert},
    KnownGlobal{"__builtin__", "list", Meaning::inert},
    KnownGlobal{"__builtin__", "dict", Meaning::inert},
    KnownGlobal{"__builtin__", "object", Meaning::inert},
    KnownGlobal{"__builtin__", "complex", Meaning::inert},
    KnownGlobal{"__builtin__", "bytearray", Meaning::inert},
    KnownGlobal{"builtins", "getattr", Meaning::attribute},
    KnownGlobal{"__builtin__", "getattr", Meaning::attribute},
    KnownGlobal{"copy_reg", "_reconstructor", Meaning::inert},
    KnownGlobal{"copyreg", "_reconstructor", Meaning::inert},
    KnownGlobal{"_codecs", "encode", Meaning::inert},
    KnownGlobal{"argparse", "Namespace", Meaning::inert},
    KnownGlobal{"datetime", "datetime", Meaning::inert},
    KnownGlobal{"pathlib", "Path", Meaning::inert},
    KnownGlobal{"pathlib", "PosixPath", Meaning::inert},
    KnownGlobal{"numpy", "dtype", Meaning::inert},
    KnownGlobal{"numpy", "ndarray", Meaning::inert},
    KnownGlobal{"numpy.core.multiarray", "scalar", Meaning::inert},
    KnownGlobal{"numpy.core.multiarray", "_reconstruct", Meaning::inert},
    KnownGlobal{"numpy._core.multiarray", "scalar", Meaning::inert},
    KnownGlobal{"numpy._core.multiarray", "_reconstruct", Meaning::inert},
    KnownGlobal{"mmengine.logging.history_buffer", "HistoryBuffer", Meaning::inert},
    KnownGlobal{"mmengine.logging.history_buffer", "HistoryBuffer.min", Meaning::inert},
    KnownGlobal{"mmengine.logging.history_buffer", "HistoryBuffer.max", Meaning::inert},
    KnownGlobal{"mmengine.logging.history_buffer", "HistoryBuffer.mean", Meaning::inert},
    KnownGlobal{"mmengine.logging.history_buffer", "HistoryBuffer.current", Meaning::inert},
    KnownGlobal{"yacs.config", "CfgNode", Meaning::inert},
    KnownGlobal{"torch", "Size", Meaning::pass_first},
    KnownGlobal{"torch", "device", Meaning::inert},
    KnownGlobal{"torch", "Tensor", Meaning::inert},
    KnownGlobal{"torch._tensor", "Tensor", Meaning::inert},
    KnownGlobal{"torch.nn.parameter", "Parameter", Meaning::inert},
    KnownGlobal{"torch.nn.parameter", "Buffer", Meaning::inert},
    KnownGlobal{"torch.serialization", "_get_layout", Meaning::inert},
    KnownGlobal{"torch._utils", "_rebuild_tensor", Meaning::tensor_v1},
    KnownGlobal{"torch._utils", "_rebuild_tensor_v2", Meaning::tensor_v2},
    KnownGlobal{"torch._utils", "_rebuild_tensor_v3", Meaning::tensor_v3},
    KnownGlobal{"torch._utils", "_rebuild_parameter", Meaning::parameter},
    KnownGlobal{"torch._utils", "_rebuild_parameter_with_state", Meaning::parameter},
    KnownGlobal{"torch._tensor", "_rebuild_from_type_v2", Meaning::tensor_like},
    KnownGlobal{"torch.storage", "UntypedStorage", Meaning::untyped_storage},
    KnownGlobal{"torch", "UntypedStorage", Meaning::untyped_storage},
    KnownGlobal{"torch.jit._pickle", "build_intlist", Meaning::pass_first},
    KnownGlobal{"torch.jit._pickle", "build_doublelist", Meaning::pass_first},
    KnownGlobal{"torch.jit._pickle", "build_boollist", Meaning::pass_first},
    KnownGlobal{"torch.jit._pickle", "build_tensorlist", Meaning::pass_first},
    KnownGlobal{"torch.jit._pickle", "restore_type_tag", Meaning::pass_first},
};

}  // namespace

std::optional<Meaning> meaning_of(std::string_view module, std::string_view name) {
  for (const KnownGlobal& known : kKnownGlobals) {
    if (known.module == module && known.name == name) return known.meaning;
  }
  const auto with = [](Meaning base, at::ScalarType type) {
    return static_cast<Meaning>(static_cast<std::int64_t>(base) + static_cast<std::int64_t>(type));
  };
  if (module == "torch" || module == "torch.cuda" || module == "torch.storage") {
    for (const TorchType& known : kTorchTypes) {
      if (!known.storage.empty() && known.storage == name)
        return with(Meaning::storage, known.type);
      if (module == "torch" && known.name == name) return with(Meaning::dtype, known.type);
    }
  }
  if (module == "numpy.dtypes") return Meaning::inert;
  if (module == "__torch__" || module.starts_with("__torch__.")) return Meaning::script_class;
  return std::nullopt;
}

std::optional<at::ScalarType> type_of(Meaning meaning, Meaning base) {
  const auto number = static_cast<std::int64_t>(meaning) - static_cast<std::int64_t>(base);
  if (number < 0 || number >= static_cast<std::int64_t>(at::ScalarType::NumOptions)) {
    return std::nullopt;
  }
  return static_cast<at::ScalarType>(number);
}

}  // namespace strata::io
