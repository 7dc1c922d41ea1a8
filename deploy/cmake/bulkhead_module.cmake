# bulkhead_module(NAME SOURCES ... USES ... [HEADERS ...]): a library that may only use what the
# module table in the top CMakeLists.txt allows.
function(bulkhead_module NAME)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES" ${ARGN})
  foreach(used IN LISTS ARG_USES)
    if(NOT used IN_LIST BULKHEAD_MAY_USE_${NAME})
      message(FATAL_ERROR "module '${NAME}' may not use '${used}': see the module table in CMakeLists.txt")
    endif()
  endforeach()
  if(ARG_SOURCES)
    add_library(bulkhead_${NAME} STATIC ${ARG_SOURCES})
    set(scope PUBLIC)
    target_link_libraries(bulkhead_${NAME} PUBLIC bulkhead_flags PRIVATE $<BUILD_INTERFACE:bulkhead_warnings>)
    target_include_directories(bulkhead_${NAME} PRIVATE
      ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/worker ${PROJECT_SOURCE_DIR}/coordinator)
  else()
    add_library(bulkhead_${NAME} INTERFACE)
    set(scope INTERFACE)
    target_link_libraries(bulkhead_${NAME} INTERFACE bulkhead_flags)
  endif()
  add_library(bulkhead::${NAME} ALIAS bulkhead_${NAME})
  foreach(used IN LISTS ARG_USES)
    target_link_libraries(bulkhead_${NAME} ${scope} bulkhead_${used})
  endforeach()
  # Each public header must compile alone: `cmake --build … --target all_verify_interface_header_sets`.
  # Those of the module's folder, and the one of the module's name that gathers them.
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/bulkhead/${NAME}/*.hpp)
  if(EXISTS ${PROJECT_SOURCE_DIR}/include/bulkhead/${NAME}.hpp)
    list(APPEND headers ${PROJECT_SOURCE_DIR}/include/bulkhead/${NAME}.hpp)
  endif()
  if(headers)
    target_sources(bulkhead_${NAME} ${scope} FILE_SET HEADERS
      BASE_DIRS ${PROJECT_SOURCE_DIR}/include FILES ${headers})
  endif()
  set_target_properties(bulkhead_${NAME} PROPERTIES
    VERIFY_INTERFACE_HEADER_SETS ON EXPORT_NAME ${NAME})
endfunction()
