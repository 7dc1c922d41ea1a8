# libzmq and cppzmq as one target. Debian ships no CMake package for libzmq that works without
# pkg-config; the build and the installed bulkheadConfig.cmake both use this file.
find_path(BULKHEAD_ZMQ_INCLUDE zmq.hpp REQUIRED)
find_library(BULKHEAD_ZMQ_LIBRARY zmq REQUIRED)
mark_as_advanced(BULKHEAD_ZMQ_INCLUDE BULKHEAD_ZMQ_LIBRARY)
if(NOT TARGET bulkhead::libzmq)
  add_library(bulkhead::libzmq UNKNOWN IMPORTED)
  set_target_properties(bulkhead::libzmq PROPERTIES
    IMPORTED_LOCATION "${BULKHEAD_ZMQ_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${BULKHEAD_ZMQ_INCLUDE}")
endif()
