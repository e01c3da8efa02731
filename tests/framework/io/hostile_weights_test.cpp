// Weight files that are damaged or made to harm: each is refused with the place and the reason, and
// none runs anything, reads outside of the file or takes memory for what it only claims.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <vector>

#include "framework/base/error.hpp"
#include "framework/io/tensor_file.hpp"
#include "framework/io/zip.hpp"
#include "tests/support/temp_dir.hpp"

namespace strata::io::hostile {
namespace {

using tests::file_content;
using tests::TempDir;
using tests::write_file;

std::string fixture(const std::string& name) {
  return file_content(STRATA_SOURCE_DIR "/tests/data/weights/" + name);
}

template <class T>
std::string le(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}

// --- pickles, word by word ---

std::string text(const std::string& value) {
  return "X" + le(static_cast<std::uint32_t>(value.size())) + value;
}
std::string integer(std::int64_t value) { return "\x8a\x08" + le(value); }
std::string tuple(const std::vector<std::int64_t>& values) {
  std::string out = "(";
  for (const std::int64_t value : values) out += integer(value);
  return out + "t";
}
std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
std::string storage(const std::string& key = "0", std::int64_t count = 6,
                    const std::string& type = global("torch", "FloatStorage")) {
  return "(" + text("storage") + type + text(key) + text("cpu") + integer(count) + "tQ";
}
std::string call_tensor(const std::string& arguments) {
  return global("torch._utils", "_rebuild_tensor_v2") + "(" + arguments + "tR";
}
const std::string kHooks = "\x89" + global("collections", "OrderedDict") + ")R";
std::string tensor(std::int64_t offset, const std::vector<std::int64_t>& sizes,
                   const std::vector<std::int64_t>& strides, const std::string& of = storage()) {
  return call_tensor(of + integer(offset) + tuple(sizes) + tuple(strides) + kHooks);
}
std::string dict_of(const std::string& value) { return "\x80\x02}(" + text("x") + value + "u."; }

// --- zip archives ---

struct Entry {
  std::string name, bytes;
};
std::string zip(const std::vector<Entry>& entries) {
  std::string out;
  const Put put = [&](const void* bytes, std::size_t size) {
    out.append(static_cast<const char*>(bytes), size);
  };
  ZipWriter writer(put, "test");
  for (const Entry& entry : entries) writer.add(entry.name, entry.bytes.data(), entry.bytes.size());
  writer.finish();
  return out;
}
std::string archive(const std::string& pickle, const std::string& data = std::string(24, 'a')) {
  return zip({{"archive/data.pkl", pickle}, {"archive/data/0", data}});
}
std::string good_zip() { return archive(dict_of(tensor(0, {2, 3}, {3, 1}))); }

/// `bytes` written over the file at the n-th place (from 0) where `signature` stands, plus
/// `offset`.
std::string patch(std::string file, const std::string& signature, int n, std::size_t offset,
                  const std::string& bytes) {
  std::size_t at = file.find(signature);
  for (; n > 0; --n) at = file.find(signature, at + 1);
  return file.replace(at + offset, bytes.size(), bytes);
}
const std::string kCentral = "PK\x01\x02", kLocal = "PK\x03\x04", kEnd = "PK\x05\x06";

// --- safetensors ---

std::string safetensors(const std::string& header, const std::string& data = std::string(8, 'a')) {
  return le(static_cast<std::uint64_t>(header.size())) + header + data;
}
std::string one_tensor(const std::string& dtype, const std::string& shape,
                       const std::string& offsets, const std::string& data = std::string(8, 'a')) {
  return safetensors(
      R"({"x":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}",
      data);
}

// --- old pickles ---

const std::string kMagic =
    "\x80\x02\x8a\x0a" + std::string("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10) + ".";
std::string legacy(const std::string& object, const std::string& keys, const std::string& data,
                   const std::string& version = "\x80\x02M\xe9\x03.",
                   const std::string& little = "\x88") {
  return kMagic + version + "\x80\x02}(" + text("little_endian") + little + "u." + object + keys +
         data;
}
std::string good_legacy() {
  return legacy(dict_of(tensor(0, {2, 3}, {3, 1})), "\x80\x02](" + text("0") + "e.",
                le(std::int64_t{6}) + std::string(24, 'a'));
}

struct Hostile {
  std::string name, bytes, reason;
};

std::string repeat(const std::string& part, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) out += part;
  return out;
}

std::vector<Hostile> hostile_safetensors() {
  const std::string f32 = "\"F32\"";
  return {
      {"header of 2^63 bytes", le(std::uint64_t{1} << 63) + "{}      ", "says its header has"},
      {"header longer than the file", le(std::uint64_t{4000}) + "{\"x\":1}",
       "says its header has 4000"},
      {"header that is one byte too long", le(std::uint64_t{9}) + "{\"x\":1}",
       "says its header has 9"},
      {"header that is cut", safetensors(R"({"x":{"dtype":"F32","shape":[2],"da)"),
       "not a JSON object"},
      {"header of nothing but braces", safetensors(std::string(5000, '{')), "not a JSON object"},
      {"header of deep arrays", safetensors("{\"x\":" + std::string(100000, '[')),
       "not a JSON object"},
      {"header with a second document", safetensors("{}{}"), "not a JSON object"},
      {"header of broken UTF-8", safetensors("{\"\xff\xfe\":1}"), "not a JSON object"},
      {"tensor that is a number", safetensors("{\"x\":1}"),
       "needs dtype, shape and two data_offsets"},
      {"tensor that is null", safetensors("{\"x\":null}"),
       "needs dtype, shape and two data_offsets"},
      {"tensor without dtype", safetensors(R"({"x":{"shape":[2],"data_offsets":[0,8]}})"),
       "needs dtype, shape"},
      {"tensor without shape", safetensors(R"({"x":{"dtype":"F32","data_offsets":[0,8]}})"),
       "needs dtype, shape"},
      {"tensor without offsets", safetensors(R"({"x":{"dtype":"F32","shape":[2]}})"),
       "needs dtype, shape"},
      {"one offset", one_tensor(f32, "[2]", "[0]"), "two data_offsets"},
      {"three offsets", one_tensor(f32, "[2]", "[0,8,8]"), "two data_offsets"},
      {"dtype that is a number", one_tensor("7", "[2]", "[0,8]"), "needs dtype"},
      {"unknown dtype", one_tensor("\"F4\"", "[2]", "[0,8]"), "unsupported dtype, got \"F4\""},
      {"empty dtype", one_tensor("\"\"", "[2]", "[0,8]"), "unsupported dtype, got \"\""},
      {"negative extent", one_tensor(f32, "[-2]", "[0,8]"), "not made of counts"},
      {"extent with a fraction", one_tensor(f32, "[2.0]", "[0,8]"), "not made of counts"},
      {"extent that is text", one_tensor(f32, "[\"2\"]", "[0,8]"), "not made of counts"},
      {"extents whose product overflows", one_tensor(f32, "[4294967296,4294967296]", "[0,8]"),
       "impossible shape"},
      {"extent of 2^63", one_tensor(f32, "[9223372036854775808]", "[0,8]"), "impossible shape"},
      {"nothing of an impossible shape",
       one_tensor(f32, "[0,1099511627776,1099511627776]", "[0,0]", ""), "impossible shape"},
      {"seventeen extents", one_tensor(f32, "[2,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,8]"),
       "more than 16 dimensions"},
      {"more elements than bytes", one_tensor(f32, "[3]", "[0,8]"), "needs 12 bytes"},
      {"fewer elements than bytes", one_tensor(f32, "[1]", "[0,8]"), "needs 4 bytes"},
      {"offsets that go back", one_tensor(f32, "[2]", "[8,0]"), "needs 8 bytes"},
      {"negative offset", one_tensor(f32, "[2]", "[-8,0]"), "data_offsets that are not counts"},
      {"offset of 2^64 - 8", one_tensor(f32, "[2]", "[18446744073709551608,0]"), "needs 8 bytes"},
      {"data before the end of the file", one_tensor(f32, "[2]", "[0,8]", std::string(4, 'a')),
       "it is truncated or damaged"},
      {"data after the last tensor", one_tensor(f32, "[2]", "[0,8]", std::string(12, 'a')),
       "it is truncated or damaged"},
      {"a hole before the first", one_tensor(f32, "[2]", "[4,12]", std::string(12, 'a')),
       "begins at 4, the one before ends at 0"},
      {"tensors that overlap",
       safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                   R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
                   std::string(12, 'a')),
       "\"b\" begins at 4, the one before ends at 8"},
      {"tensors at one place",
       safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                   R"("b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})"),
       "begins at 0, the one before ends at 8"},
      {"a name twice",
       safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                   R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})"),
       "names \"a\" twice"},
      {"metadata that is a list", safetensors(R"({"__metadata__":[1]})", ""),
       "metadata is not a JSON object"},
      {"metadata with a number", safetensors(R"({"__metadata__":{"a":1}})", ""),
       "metadata \"a\" is not a string"},
  };
}

std::vector<Hostile> hostile_zips() {
  const std::string good = good_zip(), pickle = dict_of(tensor(0, {2, 3}, {3, 1}));
  std::string comment = good;
  comment[comment.size() - 2] = 5;
  const std::size_t directory = good.find(kCentral);
  const std::string end64 = [&] {
    // A zip64 locator that points behind the file.
    const std::size_t end = good.find(kEnd);
    return good.substr(0, end) + "PK\x06\x07" + le(std::uint32_t{0}) + le(std::uint64_t{1} << 40) +
           le(std::uint32_t{1}) + good.substr(end);
  }();
  return {
      {"nothing but a signature", "PK\x03\x04", "it has no directory"},
      {"an empty archive", zip({}), "without data.pkl"},
      {"no end record", good.substr(0, good.find(kEnd)), "ends without its directory"},
      {"half of the file", good.substr(0, good.size() / 2), "ends without its directory"},
      {"a comment that is not there", comment, "ends without its directory"},
      {"a directory behind the file", patch(good, kEnd, 0, 16, le(std::uint32_t{0xfffffff0})),
       "the directory of the zip archive is said to be"},
      {"a directory larger than the file", patch(good, kEnd, 0, 12, le(std::uint32_t{0x7fffffff})),
       "the directory of the zip archive is said to be"},
      {"65535 entries", patch(good, kEnd, 0, 8, le(std::uint32_t{0xffffffff})), "65535 entries"},
      {"one entry more than there is", patch(good, kEnd, 0, 8, le(std::uint32_t{0x00030003})),
       "is said to have 3 entries|entry 2 of the zip directory"},
      {"several disks", patch(good, kEnd, 0, 4, le(std::uint16_t{1})), "one part of several"},
      {"a directory that begins elsewhere",
       patch(good, kEnd, 0, 16, le(static_cast<std::uint32_t>(directory - 4))),
       "entry 0 of the zip directory is damaged"},
      {"a directory entry of another kind", patch(good, kCentral, 0, 0, "XXXX"),
       "entry 0 of the zip"},
      {"a name longer than the directory", patch(good, kCentral, 0, 28, le(std::uint16_t{60000})),
       "entry 0 of the zip directory is cut short"},
      {"an extra field longer than the directory",
       patch(good, kCentral, 1, 30, le(std::uint16_t{900})),
       "entry 1 of the zip directory is cut short"},
      {"an entry behind the file", patch(good, kCentral, 0, 42, le(std::uint32_t{0x7fffffff})),
       "is said to begin at 2147483647, where none does"},
      {"an entry inside of another", patch(good, kCentral, 1, 42, le(std::uint32_t{8})),
       "is said to begin at 8, where none does"},
      {"two entries at one place", patch(good, kCentral, 1, 42, le(std::uint32_t{0})),
       "has another name in its own header"},
      {"an entry larger than the archive",
       patch(patch(good, kCentral, 1, 20, le(std::uint32_t{4000})), kCentral, 1, 24,
             le(std::uint32_t{4000})),
       "is said to have 4000 bytes"},
      {"an entry over the next one",
       patch(patch(good, kCentral, 0, 20, le(static_cast<std::uint32_t>(pickle.size() + 40))),
             kCentral, 0, 24, le(static_cast<std::uint32_t>(pickle.size() + 40))),
       "overlap"},
      {"sizes that disagree", patch(good, kCentral, 1, 24, le(std::uint32_t{99})),
       "is stored, but has 24 bytes for 99"},
      {"a zip bomb",
       patch(patch(good, kCentral, 1, 10, le(std::uint16_t{8})), kCentral, 1, 24,
             le(std::uint32_t{0xfffffffe})),
       "is compressed (method 8)"},
      {"a compressed pickle", patch(good, kCentral, 0, 10, le(std::uint16_t{8})),
       "\"archive/data.pkl\" is compressed (method 8)"},
      {"an encrypted entry", patch(good, kCentral, 0, 8, le(std::uint16_t{1})), "is encrypted"},
      {"another name in the entry's header", patch(good, kLocal, 1, 30, "Archive"),
       "has another name in its own header"},
      {"an entry's header of another kind", patch(good, kLocal, 1, 0, "XXXX"), "where none does"},
      {"a name in the header longer than the file",
       patch(good, kLocal, 1, 26, le(std::uint16_t{65535})),
       "is said to have 24 bytes|reaches beyond"},
      {"an entry twice", zip({{"a/data.pkl", pickle}, {"a/data/0", "x"}, {"a/data/0", "y"}}),
       "is there twice"},
      {"two pickles", zip({{"a/data.pkl", pickle}, {"b/data.pkl", pickle}}), "holds two data.pkl"},
      {"no pickle", zip({{"word/document.xml", "<"}}), "without data.pkl"},
      {"a pickle that was changed", patch(good, "FloatStorage", 0, 0, "ByteeStorage"),
       "\"archive/data.pkl\" is damaged (checksum)"},
      {"big-endian",
       zip({{"a/data.pkl", pickle}, {"a/data/0", std::string(24, 'a')}, {"a/byteorder", "big"}}),
       "big-endian"},
      {"a zip64 record behind the file", end64, "the zip64 end record reaches beyond"},
      {"no storage", zip({{"archive/data.pkl", pickle}}), "has no entry \"archive/data/0\""},
      {"a storage too short", archive(pickle, std::string(20, 'a')),
       "storage \"0\" is said to have 24 bytes, the file has 20"},
      {"a storage too long", archive(pickle, std::string(28, 'a')),
       "storage \"0\" is said to have 24 bytes, the file has 28"},
  };
}

std::vector<Hostile> hostile_pickles() {
  const std::int64_t huge = std::int64_t{1} << 62;
  const std::string start = "\x80\x02";
  const auto call = [&](const std::string& module, const std::string& name,
                        const std::string& arguments) {
    return start + global(module, name) + arguments + "R.";
  };
  std::string nested;  // dicts a hundred and fifty deep
  for (int i = 0; i < 150; ++i) nested += "}" + text("d");
  nested += tensor(0, {2, 3}, {3, 1}) + repeat("s", 150);
  // Each dict holds the one before twice: 2^40 places, all of the same tensor.
  std::string doubling = start + "}(" + text("x") + tensor(0, {6}, {1}) + "uq\x01";
  for (int i = 0; i < 40; ++i) doubling += "0}(" + text("a") + "h\x01" + text("b") + "h\x01uq\x01";
  doubling += ".";
  // A tensor of 64 dimensions made again and again from values that the file holds once: a kilobyte of
  // memory for five bytes of file.
  const std::vector<std::int64_t> ones(64, 1);
  const std::string again =
      start + "](" + storage("0", 6) + integer(0) + tuple(ones) + tuple(ones) + kHooks + "tq\x01" +
      global("torch._utils", "_rebuild_tensor_v2") + "q\x02" +
      repeat("h\x02h\x01R", 200'000) + ".";
  // One dict under a long name that the file holds once, 100,000 times; and one that is long itself.
  const std::string named = start + "}(" + text(std::string(4000, 'n')) + "q\x01}(" + text("x") +
                            tensor(0, {6}, {1}) + "uq\x02" + repeat("h\x01h\x02", 100'000) + "u.";
  const std::string long_dict = start + "}(" + text("n") + "q\x01}(" +
                                repeat("h\x01N", 100'000) + "uq\x02" +
                                repeat("h\x01h\x02", 100'000) + "u.";
  const std::vector<std::pair<std::string, std::string>> pickles = {
      // what would run code
      {"os.system", call("os", "system", "(" + text("touch /tmp/owned") + "t") +
                        "|byte 66: global \"os.system\" is not among those"},
      {"posix.system", call("posix", "system", "(" + text("id") + "t") + "|\"posix.system\""},
      {"subprocess.Popen",
       call("subprocess", "Popen", "(" + text("id") + "t") + "|\"subprocess.Popen\""},
      {"eval", call("builtins", "eval", "(" + text("1") + "t") + "|\"builtins.eval\""},
      {"exec of Python 2",
       call("__builtin__", "exec", "(" + text("1") + "t") + "|\"__builtin__.exec\""},
      {"__import__",
       call("builtins", "__import__", "(" + text("os") + "t") + "|\"builtins.__import__\""},
      {"compile", call("builtins", "compile", ")") + "|\"builtins.compile\""},
      {"open", call("io", "open", ")") + "|\"io.open\""},
      {"runpy", call("runpy", "_run_code", ")") + "|\"runpy._run_code\""},
      {"pickle.loads", call("_pickle", "loads", ")") + "|\"_pickle.loads\""},
      {"torch.load", call("torch.serialization", "load", ")") + "|\"torch.serialization.load\""},
      {"torch.hub.load", call("torch.hub", "load", ")") + "|\"torch.hub.load\""},
      {"operator.attrgetter", call("operator", "attrgetter", ")") + "|\"operator.attrgetter\""},
      {"functools.partial", call("functools", "partial", ")") + "|\"functools.partial\""},
      {"a stacked global", start + text("os") + text("system") + "\x93." + "|\"os.system\""},
      {"a stacked global of no text", start + "K\x01K\x02\x93." + "|has no name"},
      {"an instance of an old class", start + "(ios\nsystem\n." + "|\"os.system\""},
      {"a harmless instance of an old class",
       start + "(iargparse\nNamespace\n." + "|old Python classes"},
      {"an object by opcode OBJ",
       start + "(" + global("argparse", "Namespace") + "o." + "|opcode 0x6f"},
      {"NEWOBJ_EX", start + global("argparse", "Namespace") + ")}\x92." + "|opcode 0x92"},
      {"an extension code", start + "\x82\x01." + "|opcode 0x82"},
      {"a persistent id as text", start + "Pmodule\n." + "|opcode 0x50"},
      {"an out-of-band buffer", start + "\x97." + "|opcode 0x97"},
      {"an unknown opcode", start + "\xff." + "|opcode 0xff"},
      {"getattr of a tensor type",
       call("builtins", "getattr",
            "(" + global("torch._utils", "_rebuild_tensor_v2") + text("x") + "t") +
           "|getattr of what is no inert class"},
      {"getattr of a text",
       call("builtins", "getattr", "(" + text("a") + text("x") + "t") + "|argument 0 of getattr"},
      {"a global with control characters",
       start + "c\x1b[2Jos\nsystem\n." + "|\"\\x1b[2Jos.system\""},
      {"a call of a text", start + text("f") + ")R." + "|calls what is no global"},
      {"a call of a type", call("torch", "FloatStorage", ")") + "|no function of weight files"},
      {"a call with a number",
       call("collections", "OrderedDict", "K\x01") + "|with what is no tuple"},
      {"a new object of a function", start + global("torch._utils", "_rebuild_tensor_v2") +
                                         ")\x81." + "|object of what is no class"},
      {"a new object of a number", start + "K\x01)\x81." + "|object of what is no class"},
      // the machine itself
      {"an empty pickle", "|the pickle wants 1 more bytes"},
      {"no end", start + "}" + "|the pickle wants 1 more bytes"},
      {"an end without a value", start + ".|takes a value where there is none"},
      {"protocol 9", "\x80\x09N.|pickle protocol 9"},
      {"a text of 4 GiB",
       start + "X\xff\xff\xff\xff" + "ab.|the pickle wants 4294967295 more bytes"},
      {"a text of 2^64 bytes", start + "\x8d\xff\xff\xff\xff\xff\xff\xff\xff" + "ab.|more bytes"},
      {"a frame longer than the file",
       start + "\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.|a frame of the pickle"},
      {"a line without end", start + "cos|a line of the pickle has no end"},
      {"a number that is none", start + "Ipi\n.|a number of the pickle is none"},
      {"a value that was never kept", start + "h\x05.|recalls value 5 that it never kept"},
      {"keeping nothing", start + "q\x01.|uses a value where there is none"},
      {"a mark that was not set", start + "t.|a mark that was not set"},
      {"taking what is below a mark", start + "K\x01(\x85.|takes a value where there is none"},
      {"a key without a value", start + "}(" + text("a") + "u.|a key without a value"},
      {"items of a number", start + "K\x01(" + text("a") + "Nu.|sets items of what is no dict"},
      {"appending to a number", start + "K\x01K\x02" + "a.|appends to what is no list"},
      {"a string without quotes", start + "Sabc\n.|has no quotes"},
      {"a hundred thousand marks", start + repeat("(", 100001) + ".|nests too deep"},
      // what is built
      {"a number alone", start + "K\x01.|holds no dict of tensors"},
      {"a tensor alone", start + tensor(0, {6}, {1}) + ".|only one without a name"},
      {"an empty dict", start + "}.|holds no dict of tensors"},
      {"a dict without tensors", dict_of("K\x01") + "|holds no dict of tensors"},
      {"a dict that holds itself", start + "}q\x01(" + text("x") + tensor(0, {6}, {1}) +
                                       text("self") + "h\x01u.|or contains itself"},
      {"dicts 150 deep",
       start + "}(" + text("x") + tensor(0, {6}, {1}) + text("y") + nested + "u.|deeper than 100"},
      {"dicts that double forty times", doubling + "|refer to each other|holds no dict"},
      {"dicts whose names take gigabytes", named + "|take more than 256 MiB"},
      {"100,000 times a dict of 100,000 nothings", long_dict + "|holds no dict of tensors"},
      {"a tensor named twice", start + "}(" + text("x") + tensor(0, {6}, {1}) + text("x") +
                                   tensor(0, {6}, {1}) + "u.|names tensor \"x\" twice"},
      {"an empty name", start + "}(" + text("") + tensor(0, {6}, {1}) + "u.|a name that is empty"},
      {"a name of 5000 bytes",
       start + "}(" + text(std::string(5000, 'n')) + tensor(0, {6}, {1}) + "u.|longer than 4096"},
      {"an OrderedDict of no pairs", call("collections", "OrderedDict", "((K\x01tt") + "|no pairs"},
      // storages
      {"a persistent id of a module", start + "(" + text("module") + "Nt" + "Q.|sort \"module\""},
      {"a persistent id that is text", start + text("0") + "Q.|a persistent id is no tuple"},
      {"a persistent id without a type",
       start + "(" + text("storage") + "tQ.|argument 1 of a persistent id"},
      {"a persistent id without a count", start + "(" + text("storage") +
                                              global("torch", "FloatStorage") + text("0") +
                                              text("cpu") + "tQ.|argument 4 of a persistent id"},
      {"a storage of an unknown type",
       dict_of(tensor(0, {6}, {1}, storage("0", 6, global("torch", "QInt8Storage")))) +
           "|\"torch.QInt8Storage\""},
      {"a storage of type OrderedDict",
       dict_of(tensor(0, {6}, {1}, storage("0", 6, global("collections", "OrderedDict")))) +
           "|a storage has a type that is not known"},
      {"a negative storage",
       dict_of(tensor(0, {6}, {1}, storage("0", -6))) + "|a storage has a negative size"},
      {"a storage of 2^62 elements",
       dict_of(tensor(0, {6}, {1}, storage("0", huge))) + "|impossible shape"},
      {"a storage outside of the archive",
       dict_of(tensor(0, {6}, {1}, storage("../../etc/passwd"))) +
           "|has no entry \"archive/data/../../etc/passwd\""},
      {"a storage that is a number",
       dict_of(call_tensor("K\x01" + integer(0) + tuple({6}) + tuple({1}) + kHooks)) +
           "|argument 0 of _rebuild_tensor"},
      // shapes
      {"a tensor without strides", dict_of(call_tensor(storage() + integer(0) + tuple({6}))) +
                                       "|argument 3 of _rebuild_tensor"},
      {"more sizes than strides", dict_of(tensor(0, {2, 3}, {1})) + "|2 sizes and 1 strides"},
      {"a negative size", dict_of(tensor(0, {-6}, {1})) + "|is no count"},
      {"a negative stride", dict_of(tensor(0, {6}, {-1})) + "|is no count"},
      {"a negative offset", dict_of(tensor(-1, {6}, {1})) + "|begins before its storage"},
      {"a size that is text",
       dict_of(call_tensor(storage() + integer(0) + "(" + text("6") + "t" + tuple({1}) + kHooks)) +
           "|is no count"},
      {"one element too many",
       dict_of(tensor(0, {7}, {1})) + "|ends at byte 28 of its storage \"0\", which has 24"},
      {"one stride too long",
       dict_of(tensor(0, {2, 3}, {4, 1})) + "|ends at byte 28 of its storage"},
      {"one element too late", dict_of(tensor(1, {6}, {1})) + "|ends at byte 28 of its storage"},
      {"an offset of 2^62", dict_of(tensor(huge, {6}, {1})) + "|impossible"},
      {"sizes whose product overflows",
       dict_of(tensor(0, {huge, huge}, {0, 0})) + "|impossible shape"},
      {"strides whose sum overflows", dict_of(tensor(0, {3, 3}, {huge, huge})) + "|impossible"},
      {"one element repeated a billion times",
       dict_of(tensor(0, {1 << 30}, {0})) + "|claims 1073741824 elements"},
      {"nothing of an impossible shape",
       dict_of(tensor(0, {0, huge, huge}, {1, 1, 1})) + "|impossible shape"},
      {"a tensor of 64 dimensions 200,000 times", again + "|more than 16777216 references"},
      {"65 dimensions",
       dict_of(tensor(0, std::vector<std::int64_t>(65, 1), std::vector<std::int64_t>(65, 1))) +
           "|a tensor has 65 dimensions"},
      {"_rebuild_tensor_v3 without a type",
       dict_of(global("torch._utils", "_rebuild_tensor_v3") + "(" + storage() + integer(0) +
               tuple({6}) + tuple({1}) + kHooks + "tR") +
           "|argument 6 of _rebuild_tensor"},
      {"_rebuild_tensor_v3 of type OrderedDict",
       dict_of(global("torch._utils", "_rebuild_tensor_v3") + "(" + storage() + integer(0) +
               tuple({6}) + tuple({1}) + kHooks + global("collections", "OrderedDict") + "tR") +
           "|no type of tensors"},
      {"_rebuild_from_type_v2 of itself",
       dict_of(global("torch._tensor", "_rebuild_from_type_v2") + "(" +
               global("torch._tensor", "_rebuild_from_type_v2") + "N)NtR") +
           "|is given itself"},
      {"_rebuild_parameter of a number",
       dict_of(global("torch._utils", "_rebuild_parameter") + "(K\x01\x88NtR") +
           "|argument 0 of _rebuild_parameter"},
      {"sparse tensors", dict_of(global("torch._utils", "_rebuild_sparse_tensor") + ")R") +
                             "|\"torch._utils._rebuild_sparse_tensor\""},
      {"quantised tensors", dict_of(global("torch._utils", "_rebuild_qtensor") + ")R") +
                                "|\"torch._utils._rebuild_qtensor\""},
  };
  std::vector<Hostile> files;
  for (const auto& [name, both] : pickles) {
    // The reason is what stands behind the last full stop of the pickle, from its bar on.
    const std::size_t bar =
        both.rfind(".|") != std::string::npos ? both.rfind(".|") + 1 : both.find('|');
    files.push_back({name, archive(both.substr(0, bar)), both.substr(bar + 1)});
  }
  return files;
}

std::vector<Hostile> hostile_legacy() {
  const std::string object = dict_of(tensor(0, {2, 3}, {3, 1}));
  const std::string keys = "\x80\x02](" + text("0") + "e.";
  const std::string data = le(std::int64_t{6}) + std::string(24, 'a');
  const auto with_view = [&](std::int64_t at, std::int64_t size) {
    const std::string part = "(" + text("storage") + global("torch", "FloatStorage") + text("0") +
                             text("cpu") + integer(6) + "(" + text("v") + integer(at) +
                             integer(size) + "ttQ";
    return legacy(dict_of(tensor(0, {2}, {1}, part)), keys, data);
  };
  return {
      {"a pickle of something else", "\x80\x02}(" + text("x") + "K\x01u.", "none of torch.save"},
      {"another magic number", "\x80\x02\x8a\x0a" + std::string(10, 'm') + ".",
       "none of torch.save"},
      {"nothing but the magic number", kMagic, "wants 1 more bytes"},
      {"another version", legacy(object, keys, data, "\x80\x02M\xea\x03."), "other than 1001"},
      {"a version that is text", legacy(object, keys, data, "\x80\x02" + text("1001") + "."),
       "other than 1001"},
      {"a big-endian machine", legacy(object, keys, data, "\x80\x02M\xe9\x03.", "\x89"),
       "big-endian"},
      {"os.system",
       legacy("\x80\x02" + global("os", "system") + "(" + text("id") + "tR.", keys, data),
       "\"os.system\""},
      {"no keys", legacy(object, "", ""), "wants 1 more bytes"},
      {"keys that are a number", legacy(object, "\x80\x02K\x01.", data), "are no list"},
      {"a key that is a number",
       legacy(object,
              "\x80\x02](K\x01"
              "e.",
              data),
       "is no text"},
      {"a key of no tensor", legacy(object, "\x80\x02](" + text("1") + "e.", data),
       "storage \"1\" belongs to no tensor"},
      {"a key twice", legacy(object, "\x80\x02](" + text("0") + text("0") + "e.", data + data),
       "is there twice"},
      {"a tensor without a key", legacy(object, "\x80\x02].", data), "has no storage \"0\""},
      {"no data", legacy(object, keys, ""), "truncated before its last storage"},
      {"half of the data", legacy(object, keys, data.substr(0, 20)),
       "said to have 6 elements of 4 bytes, the file has 12"},
      {"a count of 2^62", legacy(object, keys, le(std::int64_t{1} << 62) + std::string(24, 'a')),
       "said to have 4611686018427387904"},
      {"a negative count", legacy(object, keys, le(std::int64_t{-1}) + std::string(24, 'a')),
       "said to have -1 elements"},
      {"fewer elements than the pickle says",
       legacy(object, keys, le(std::int64_t{5}) + std::string(20, 'a')),
       "is said to have 24 bytes, the file has 20"},
      {"a part outside of its storage", with_view(4, 3), "a part of another that is not in it"},
      {"a part that begins before it", with_view(-1, 2), "a part of another that is not in it"},
      {"a tensor outside of its part", with_view(5, 1), "ends at byte 28"},
      {"one storage of two types",
       legacy("\x80\x02}(" + text("x") + tensor(0, {6}, {1}) + text("y") +
                  tensor(0, {6}, {1}, storage("0", 6, global("torch", "ByteStorage"))) + "u.",
              keys, data),
       "of different types"},
  };
}

std::string refusal(const TempDir& dir, const std::string& bytes) {
  const std::string path = dir / "hostile.pth";
  write_file(path, bytes);
  try {
    read_tensors(path);
  } catch (const CheckpointError& error) {
    const std::string message = error.what();
    EXPECT_TRUE(message.starts_with(path + ": ")) << message;
    return message.substr(std::min(message.size(), path.size() + 2));
  } catch (const std::exception& error) {
    return std::string("another exception: ") + error.what();
  }
  return "read without an error";
}

void expect_refused(const std::vector<Hostile>& files) {
  const TempDir dir;
  for (const Hostile& file : files) {
    const std::string message = refusal(dir, file.bytes);
    bool found = false;
    for (std::size_t at = 0; at <= file.reason.size();) {
      const std::size_t end = std::min(file.reason.find('|', at), file.reason.size());
      found = found || message.find(file.reason.substr(at, end - at)) != std::string::npos;
      at = end + 1;
    }
    EXPECT_TRUE(found) << file.name << "\n  says: " << message << "\n  not:  " << file.reason;
  }
}

TEST(HostileWeights, TheirFormsAreFineOtherwise) {
  const TempDir dir;
  EXPECT_EQ(refusal(dir, good_zip()), "read without an error");
  EXPECT_EQ(refusal(dir, good_legacy()), "read without an error");
  EXPECT_EQ(refusal(dir, one_tensor("\"F32\"", "[2]", "[0,8]")), "read without an error");
}

TEST(HostileWeights, ThereAreMany) {
  EXPECT_GE(hostile_safetensors().size() + hostile_zips().size() + hostile_pickles().size() +
                hostile_legacy().size(),
            100u);
}

TEST(HostileWeights, Safetensors) { expect_refused(hostile_safetensors()); }
TEST(HostileWeights, Zips) { expect_refused(hostile_zips()); }
TEST(HostileWeights, Pickles) { expect_refused(hostile_pickles()); }
TEST(HostileWeights, OldPickles) { expect_refused(hostile_legacy()); }

// What is not refused must be usable: every byte of every tensor is touched.
void read_all(const std::string& path) {
  for (const auto& [name, tensor] : read_tensors(path).tensors) {
    const at::Tensor plain = tensor.contiguous();
    volatile char sum = 0;
    const auto* bytes = static_cast<const char*>(plain.data_ptr());
    for (std::int64_t i = 0; i < plain.numel() * plain.element_size(); ++i) sum = sum + bytes[i];
  }
}

class Damaged : public testing::TestWithParam<const char*> {};

TEST_P(Damaged, EveryLengthIsRefusedWithAReason) {
  const TempDir dir;
  const std::string whole = fixture(GetParam());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string message = refusal(dir, whole.substr(0, size));
    ASSERT_NE(message, "read without an error") << size;
    ASSERT_FALSE(message.starts_with("another exception")) << size << " " << message;
  }
}

TEST_P(Damaged, EveryFlippedByteIsRefusedOrHarmless) {
  const TempDir dir;
  const std::string whole = fixture(GetParam());
  const std::string path = dir / "flipped.pth";
  for (std::size_t at = 0; at < whole.size(); ++at) {
    // One bit here, all of them there.
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ (at % 2 == 0 ? 0x01 : 0xff));
    write_file(path, flipped);
    try {
      read_all(path);
    } catch (const CheckpointError&) {
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Files, Damaged,
                         testing::Values("shared.pth", "shared_legacy.pth", "no_crc.pth",
                                         "nested_legacy.pth", "script.pt", "library.safetensors"),
                         [](const auto& file) {
                           std::string name = file.param;
                           return name.replace(name.find('.'), 1, "_");
                         });

}  // namespace
}  // namespace strata::io::hostile
