# SPDX-License-Identifier: Apache-2.0
# Units, their options, and the Debian packages of CPack: tools/deb builds them. What belongs to which
# package is the COMPONENT of each install().
install(CODE "set(SERVICES_SOURCE ${PROJECT_SOURCE_DIR}/config)" COMPONENT aico-broker)
install(SCRIPT ${PROJECT_SOURCE_DIR}/cmake/install_services.cmake COMPONENT aico-broker)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME aicobus)
set(CPACK_PACKAGE_CONTACT "AICO Bus <aico-bus@localhost>")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ
    GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_COMPONENTS_ALL libaicobus libaicobus-dev aico-bus aico-broker)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_BINARY_DIR}/lib)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
set(SAME_VERSION "(= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})")
set(DEB_DIR ${PROJECT_SOURCE_DIR}/cmake/deb)

# deb_package(COMPONENT SECTION "summary" "description" [DEPENDS ...]): names and texts of one package.
macro(deb_package COMPONENT SECTION SUMMARY DESCRIPTION)
    string(TOUPPER ${COMPONENT} KEY)
    set(CPACK_DEBIAN_${KEY}_PACKAGE_NAME ${COMPONENT})
    set(CPACK_DEBIAN_${KEY}_PACKAGE_SECTION ${SECTION})
    set(CPACK_DEBIAN_${KEY}_DESCRIPTION "${SUMMARY}\n${DESCRIPTION}")
    install(FILES ${DEB_DIR}/copyright DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${COMPONENT}
        COMPONENT ${COMPONENT})
endmacro()

deb_package(libaicobus libs "secure message bus: library"
    "Publishes, subscribes and asks on an AICO Bus; messages are sealed end to end.")

deb_package(libaicobus-dev libdevel "secure message bus: headers and static library"
    "What it takes to build against libaicobus: headers, pkg-config, CMake, examples.")
set(CPACK_DEBIAN_LIBAICOBUS-DEV_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_LIBAICOBUS-DEV_PACKAGE_DEPENDS "libaicobus ${SAME_VERSION}, libsodium-dev, libssl-dev, libyaml-dev, libsqlite3-dev")

deb_package(aico-bus net "secure message bus: tools"
    "aico-bus publishes, subscribes and looks around, aico-keytool keeps keys and rules, aico-frontend is for a person at a terminal.")
set(CPACK_DEBIAN_AICO-BUS_PACKAGE_DEPENDS "libaicobus ${SAME_VERSION}")

deb_package(aico-broker net "secure message bus: broker and backend"
    "The broker connects the components of a machine or a product, the backend collects their logs; both with hardened units for systemd.")
set(CPACK_DEBIAN_AICO-BROKER_PACKAGE_DEPENDS "libaicobus ${SAME_VERSION}, aico-bus ${SAME_VERSION}, passwd")
set(CPACK_DEBIAN_AICO-BROKER_PACKAGE_CONTROL_EXTRA ${DEB_DIR}/aico-broker/postinst
    ${DEB_DIR}/aico-broker/prerm ${DEB_DIR}/aico-broker/postrm
    ${DEB_DIR}/aico-broker/conffiles)
include(CPack)
