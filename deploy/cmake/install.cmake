# What `cmake --install` puts where: the two commands, and what a user's own worker is built with.
include(CMakePackageConfigHelpers)

# The coordinator looks for the stock worker beside itself, in the build tree as when installed.
set_target_properties(bulkhead bulkhead-worker PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
install(TARGETS bulkhead bulkhead-worker)

# The coordinator's libraries stay out: no user code runs there.
foreach(part flags proto)
  set_target_properties(bulkhead_${part} PROPERTIES EXPORT_NAME ${part})
endforeach()
target_include_directories(bulkhead_proto SYSTEM INTERFACE
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
install(TARGETS bulkhead_flags bulkhead_proto EXPORT bulkheadTargets)
foreach(module base sched transport crossing wire program worker)
  get_target_property(sets bulkhead_${module} INTERFACE_HEADER_SETS)
  if(sets)
    install(TARGETS bulkhead_${module} EXPORT bulkheadTargets FILE_SET HEADERS)
  else()
    install(TARGETS bulkhead_${module} EXPORT bulkheadTargets)
  endif()
endforeach()
install(DIRECTORY ${PROJECT_BINARY_DIR}/proto/bulkhead/v1 DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/bulkhead
  FILES_MATCHING PATTERN "*.pb.h")

# The wire contract, for a worker in another language.
set(BULKHEAD_PROTO_DIR ${CMAKE_INSTALL_DATADIR}/bulkhead/proto)
install(DIRECTORY proto/bulkhead DESTINATION ${BULKHEAD_PROTO_DIR} FILES_MATCHING PATTERN "*.proto")
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/bulkhead)
install(EXPORT bulkheadTargets NAMESPACE bulkhead:: DESTINATION ${package_dir})
configure_package_config_file(deploy/cmake/bulkheadConfig.cmake.in
  ${PROJECT_BINARY_DIR}/bulkheadConfig.cmake
  INSTALL_DESTINATION ${package_dir} PATH_VARS BULKHEAD_PROTO_DIR)
# A worker and its coordinator must be of one build: no other version will do.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/bulkheadConfigVersion.cmake
  COMPATIBILITY ExactVersion)
install(FILES ${PROJECT_BINARY_DIR}/bulkheadConfig.cmake ${PROJECT_BINARY_DIR}/bulkheadConfigVersion.cmake
  deploy/cmake/find_libzmq.cmake DESTINATION ${package_dir})
