# Installs into a temporary prefix, moves the prefix (a package is relocatable or it is none),
# builds consumer/ against it and lets the installed `bulkhead` run that worker.
function(run WHAT)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output
    TIMEOUT 200)
  if(NOT result EQUAL 0)
    string(REPLACE ";" " " command "${ARGN}")
    message(FATAL_ERROR "${WHAT} failed (${result}): ${command}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()
function(expect PATTERN)
  if(NOT output MATCHES "${PATTERN}")
    message(FATAL_ERROR "expected '${PATTERN}' in:\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
run("install" ${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/first)
file(RENAME ${WORK}/first ${WORK}/prefix)

# Nothing installed may lead back to the checkout.
file(GLOB_RECURSE texts ${WORK}/prefix/*.cmake ${WORK}/prefix/*.hpp ${WORK}/prefix/*.proto)
foreach(text IN LISTS texts)
  file(READ ${text} content)
  foreach(place ${SOURCE} ${BUILD} ${WORK}/first)
    string(FIND "${content}" "${place}" at)
    if(NOT at EQUAL -1)
      message(FATAL_ERROR "${text} names ${place}: the installed package would need the checkout")
    endif()
  endforeach()
endforeach()

run("configure" ${CMAKE_COMMAND} -G Ninja -S ${CMAKE_CURRENT_LIST_DIR}/consumer -B ${WORK}/consumer
  -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_PREFIX_PATH=${WORK}/prefix
  -DBULKHEAD_VERSION=${VERSION})
run("build" ${CMAKE_COMMAND} --build ${WORK}/consumer)

set(bulkhead ${WORK}/prefix/bin/bulkhead)
set(mine ${WORK}/consumer/mine)
run("list" ${bulkhead} list --worker ${mine})
expect("squares")
foreach(model parallel processes)
  run("run (${model})" ${bulkhead} run squares --model ${model} --worker ${mine} --set count=100)
  expect("sum of squares: 328350")
endforeach()
run("explore" ${bulkhead} explore relay --worker ${mine} --schedules 50)
expect("no failure in 50 schedules")
# The stock worker is found beside the command, wherever the prefix was moved to.
run("stock worker" ${bulkhead} list)
expect("wordcount")
file(REMOVE_RECURSE ${WORK})
