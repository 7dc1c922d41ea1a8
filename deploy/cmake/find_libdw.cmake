# libdw and libelf of elfutils as one target. They come without a CMake package.
find_path(BULKHEAD_DW_INCLUDE elfutils/libdwfl.h REQUIRED)
find_library(BULKHEAD_DW_LIBRARY dw REQUIRED)
find_library(BULKHEAD_ELF_LIBRARY elf REQUIRED)
mark_as_advanced(BULKHEAD_DW_INCLUDE BULKHEAD_DW_LIBRARY BULKHEAD_ELF_LIBRARY)
add_library(bulkhead::libdw UNKNOWN IMPORTED)
set_target_properties(bulkhead::libdw PROPERTIES
  IMPORTED_LOCATION "${BULKHEAD_DW_LIBRARY}"
  INTERFACE_INCLUDE_DIRECTORIES "${BULKHEAD_DW_INCLUDE}"
  INTERFACE_LINK_LIBRARIES "${BULKHEAD_ELF_LIBRARY}")
