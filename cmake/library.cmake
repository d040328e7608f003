# SPDX-License-Identifier: Apache-2.0
# libaicobus: the layers of bus/ as one shared and one static library that show the functions of
# include/aico and nothing else, and what is installed so that others can build against them.
include(CMakePackageConfigHelpers)

# The library holds the layers whose public header is implemented: runtime/client.c is <aico/client.h>,
# runtime/broker.c is <aico/broker.h>. Nothing goes in that could not be linked.
set(LIBRARY_LAYERS base config)
set(LIBRARY_HEADERS error config)
if(EXISTS ${PROJECT_SOURCE_DIR}/bus/runtime/client.c)
    list(APPEND LIBRARY_HEADERS client)
    list(APPEND LIBRARY_LAYERS wire cipher crypto trust envelope session store client transport runtime)
endif()
if(EXISTS ${PROJECT_SOURCE_DIR}/bus/runtime/broker.c)
    list(APPEND LIBRARY_HEADERS broker doctor)
    list(APPEND LIBRARY_LAYERS wire cipher crypto trust store broker transport runtime)
endif()
list(REMOVE_DUPLICATES LIBRARY_LAYERS)
list(TRANSFORM LIBRARY_HEADERS PREPEND ${PROJECT_SOURCE_DIR}/include/aico/)
list(TRANSFORM LIBRARY_HEADERS APPEND .h)

set(LIBRARY_OBJECTS "")
foreach(LAYER ${LIBRARY_LAYERS})
    list(APPEND LIBRARY_OBJECTS $<TARGET_OBJECTS:aico_${LAYER}>)
endforeach()
set(LIBRARY_NEEDS PkgConfig::SODIUM PkgConfig::LIBCRYPTO PkgConfig::YAML
    PkgConfig::SQLITE Threads::Threads)

# --- shared: hidden symbols, and a version on each public one ---------------------------------------
set(LIBRARY_MAP ${PROJECT_SOURCE_DIR}/cmake/aicobus.map)
add_library(aicobus SHARED ${LIBRARY_OBJECTS})
set_target_properties(aicobus PROPERTIES LINKER_LANGUAGE C VERSION ${PROJECT_VERSION} SOVERSION 0
    LINK_DEPENDS ${LIBRARY_MAP} LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
# Never unloaded: threads that have freed a message are known to it until they end (base/pool.c).
target_link_options(aicobus PRIVATE LINKER:--version-script=${LIBRARY_MAP} LINKER:--as-needed LINKER:-z,nodelete)
if(NOT AICO_SANITIZE AND NOT AICO_FUZZ)
    # A sanitizer's run-time library is in the program, not in what the program links.
    target_link_options(aicobus PRIVATE LINKER:--no-undefined)
endif()
target_link_libraries(aicobus PRIVATE ${LIBRARY_NEEDS})
target_include_directories(aicobus INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

# --- static: one object in which everything hidden has become local, so that our short internal names
# --- cannot clash with those of the program ---------------------------------------------------------
set(LIBRARY_OBJECT ${CMAKE_CURRENT_BINARY_DIR}/aicobus.o)
add_custom_command(OUTPUT ${LIBRARY_OBJECT}
    COMMAND ${CMAKE_C_COMPILER} -r -nostdlib -o ${LIBRARY_OBJECT} ${LIBRARY_OBJECTS}
    COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${LIBRARY_OBJECT}
    DEPENDS ${LIBRARY_OBJECTS} COMMAND_EXPAND_LISTS VERBATIM
    COMMENT "Joining the layers into aicobus.o")
set_source_files_properties(${LIBRARY_OBJECT} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
add_library(aicobus_static STATIC ${LIBRARY_OBJECT})
set_target_properties(aicobus_static PROPERTIES LINKER_LANGUAGE C OUTPUT_NAME aicobus
    ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
target_link_libraries(aicobus_static INTERFACE ${LIBRARY_NEEDS})
target_link_options(aicobus_static INTERFACE LINKER:-z,nodelete) # as above
target_include_directories(aicobus_static INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

# --- what is installed ------------------------------------------------------------------------------
set(PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/AicoBus)
install(FILES ${LIBRARY_HEADERS} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/aico COMPONENT libaicobus-dev)
install(TARGETS aicobus EXPORT AicoBusShared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    COMPONENT libaicobus NAMELINK_COMPONENT libaicobus-dev)
install(TARGETS aicobus_static EXPORT AicoBusStatic ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    COMPONENT libaicobus-dev)
install(EXPORT AicoBusShared NAMESPACE AicoBus:: DESTINATION ${PACKAGE_DIR}
    COMPONENT libaicobus-dev)
install(EXPORT AicoBusStatic NAMESPACE AicoBus:: DESTINATION ${PACKAGE_DIR}
    COMPONENT libaicobus-dev)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/AicoBusConfig.cmake.in
    ${CMAKE_CURRENT_BINARY_DIR}/AicoBusConfig.cmake INSTALL_DESTINATION ${PACKAGE_DIR})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/AicoBusConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/AicoBusConfig.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/AicoBusConfigVersion.cmake DESTINATION ${PACKAGE_DIR}
    COMPONENT libaicobus-dev)
# Relative to where the file lies, so that an installed tree can be moved.
file(RELATIVE_PATH PREFIX_FROM_PC ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(${PROJECT_SOURCE_DIR}/cmake/aicobus.pc.in ${CMAKE_CURRENT_BINARY_DIR}/aicobus.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/aicobus.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
    COMPONENT libaicobus-dev)

set(EXAMPLE_DIR ${CMAKE_INSTALL_DATADIR}/aicobus/examples)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/config/ DESTINATION ${EXAMPLE_DIR}/config
    COMPONENT libaicobus-dev FILES_MATCHING
    PATTERN "*.yaml" PATTERN systemd EXCLUDE PATTERN default EXCLUDE)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/docs/examples/ DESTINATION ${EXAMPLE_DIR}
    COMPONENT libaicobus-dev)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/README.md
    ${PROJECT_SOURCE_DIR}/CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR}
    COMPONENT libaicobus-dev)
