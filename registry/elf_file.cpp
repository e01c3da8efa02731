#include "registry/elf_file.hpp"

#include <elf.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string_view>

namespace strata {

namespace {

class Image {
 public:
  explicit Image(std::string bytes) : bytes_(std::move(bytes)) {}

  template <class T>
  T at(std::uint64_t offset) const {
    T value;
    std::memcpy(&value, range(offset, sizeof(T)).data(), sizeof(T));
    return value;
  }

  std::string_view range(std::uint64_t offset, std::uint64_t size) const {
    if (offset > bytes_.size() || size > bytes_.size() - offset) {
      throw std::runtime_error("is cut short");
    }
    return std::string_view(bytes_).substr(offset, size);
  }

 private:
  std::string bytes_;
};

}  // namespace

std::vector<std::string> exported_symbols(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  const Image image(std::move(bytes).str());

  const auto header = image.at<Elf64_Ehdr>(0);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_type != ET_DYN) {
    throw std::runtime_error("is no shared library");
  }
  for (std::uint64_t i = 0; i < header.e_phnum; ++i) {  // all that will be mapped must be there
    const auto segment = image.at<Elf64_Phdr>(header.e_phoff + i * header.e_phentsize);
    if (segment.p_type == PT_LOAD) image.range(segment.p_offset, segment.p_filesz);
  }
  std::vector<std::string> names;
  for (std::uint64_t i = 0; i < header.e_shnum; ++i) {
    const auto section = image.at<Elf64_Shdr>(header.e_shoff + i * header.e_shentsize);
    if (section.sh_type != SHT_DYNSYM) continue;
    const auto strings =
        image.at<Elf64_Shdr>(header.e_shoff + std::uint64_t{section.sh_link} * header.e_shentsize);
    const std::string_view text = image.range(strings.sh_offset, strings.sh_size);
    for (std::uint64_t at = 0; at + sizeof(Elf64_Sym) <= section.sh_size; at += sizeof(Elf64_Sym)) {
      const auto symbol = image.at<Elf64_Sym>(section.sh_offset + at);
      if (symbol.st_shndx == SHN_UNDEF || symbol.st_name >= text.size()) continue;
      const std::string_view rest = text.substr(symbol.st_name);
      names.emplace_back(rest.substr(0, rest.find('\0')));
    }
  }
  return names;
}

}  // namespace strata
