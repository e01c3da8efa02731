// The pickle language as far as weight files need it. Nothing is imported and nothing is called:
// a global is a name on a short list, or the file is refused. What the file describes becomes a
// tree of plain values and of tensors that are still only numbers (storage, offset, sizes).
// Source: CPython's pickletools documentation; torch/serialization for the tensors.
#pragma once

#include <c10/core/ScalarType.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "framework/base/export.hpp"

namespace strata::io {

/// The types of tensors by the names that torch's pickles have for them.
struct TorchType {
  std::string_view name;     // torch.float32
  std::string_view storage;  // torch.FloatStorage; "" for types that came after typed storages
  at::ScalarType type;
};
inline constexpr std::array kTorchTypes{
    TorchType{"float32", "FloatStorage", at::kFloat},
    TorchType{"float64", "DoubleStorage", at::kDouble},
    TorchType{"float16", "HalfStorage", at::kHalf},
    TorchType{"bfloat16", "BFloat16Storage", at::kBFloat16},
    TorchType{"int64", "LongStorage", at::kLong},
    TorchType{"int32", "IntStorage", at::kInt},
    TorchType{"int16", "ShortStorage", at::kShort},
    TorchType{"int8", "CharStorage", at::kChar},
    TorchType{"uint8", "ByteStorage", at::kByte},
    TorchType{"bool", "BoolStorage", at::kBool},
    TorchType{"complex64", "ComplexFloatStorage", at::kComplexFloat},
    TorchType{"complex128", "ComplexDoubleStorage", at::kComplexDouble},
    TorchType{"uint16", "", at::kUInt16},
    TorchType{"uint32", "", at::kUInt32},
    TorchType{"uint64", "", at::kUInt64},
    TorchType{"float8_e4m3fn", "", at::kFloat8_e4m3fn},
    TorchType{"float8_e5m2", "", at::kFloat8_e5m2}};

/// A tensor as a pickle describes it; nothing of it has been checked against the data.
struct PickledTensor {
  std::string_view storage;        // key of the storage
  at::ScalarType storage_type{};   // kByte when untyped
  std::int64_t storage_count = 0;  // elements of the storage
  std::int64_t view = 0;           // where in the storage it counts from (old files only)
  at::ScalarType type{};
  std::int64_t offset = 0;  // in elements of `type`
  std::vector<std::int64_t> sizes, strides;
  std::uint64_t at = 0;  // byte of the file that made it
};

struct PickledValue {
  enum class Kind : std::uint8_t {
    none,
    boolean,
    integer,
    real,
    text,
    bytes,
    sequence,  // tuple, list, set: `items`
    dict,      // `items` are keys and values by turns
    object,    // of TorchScript: `items` as of a dict, its attributes
    global,    // `number` is its meaning, see pickle.cpp
    storage,   // `number` is an index of storages
    tensor,    // `number` is an index of tensors
    inert,     // something else, known to be harmless, that weights do not need
  };
  Kind kind = Kind::none;
  std::uint64_t at = 0;  // byte of the file
  std::int64_t number = 0;
  std::string_view text{};
  std::vector<std::uint32_t> items{};  // indices of values
};

struct Pickle {
  std::vector<PickledValue> values;
  std::vector<PickledTensor> tensors;
  std::uint32_t root = 0;
  std::uint64_t end = 0;  // where the bytes after it begin

  const PickledValue& operator[](std::uint32_t index) const { return values[index]; }
  /// The value of `key` in a dict or object; nullptr when it has none.
  const PickledValue* find(const PickledValue& dict, std::string_view key) const;
};

/// Reads the pickle that begins at `begin` of `bytes`. The views in it point into `bytes`. Throws
/// CheckpointError "source: byte N: what is wrong", N being `offset` + the place in `bytes`.
STRATA_API Pickle read_pickle(std::string_view bytes, std::uint64_t begin, std::uint64_t offset,
                              const std::string& source);

}  // namespace strata::io
