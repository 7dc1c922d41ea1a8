# Writes OUTPUT: a C++ string literal that identifies the shared sources under ROOT and FLAVOUR.
file(GLOB_RECURSE sources
  ${ROOT}/include/*.hpp ${ROOT}/proto/*.proto ${ROOT}/proto/*.cpp ${ROOT}/worker/*.cpp ${ROOT}/worker/*.hpp)
list(SORT sources)
set(all "${FLAVOUR}")
foreach(source IN LISTS sources)
  file(SHA256 ${source} digest)
  string(APPEND all "${digest}")
endforeach()
string(SHA256 id "${all}")
string(SUBSTRING "${id}" 0 16 id)
file(WRITE ${OUTPUT} "\"${id}\"\n")
