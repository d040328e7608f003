# SPDX-License-Identifier: Apache-2.0
# Run by `cmake --install` and CPack: units with the folder in which the programs really are, and the files
# of options, which belong to /etc when the programs are in /usr. SERVICES_SOURCE: folder config/.
set(ETC ${CMAKE_INSTALL_PREFIX}/etc)
if(CMAKE_INSTALL_PREFIX STREQUAL "/usr")
    set(ETC /etc)
endif()

foreach(UNIT aico-broker.service aico-broker.socket aico-backend.service user/aico-broker.service
    user/aico-backend.service)
    set(FOLDER system)
    if(UNIT MATCHES "^user/")
        set(FOLDER .)
    endif()
    cmake_path(SET FILE NORMALIZE "${CMAKE_INSTALL_PREFIX}/lib/systemd/${FOLDER}/${UNIT}")
    file(READ ${SERVICES_SOURCE}/systemd/${UNIT} TEXT)
    string(REPLACE "/usr/bin/aico" "${CMAKE_INSTALL_PREFIX}/bin/aico" TEXT "${TEXT}")
    string(REPLACE "-/etc/default" "-${ETC}/default" TEXT "${TEXT}")
    message(STATUS "Installing: $ENV{DESTDIR}${FILE}")
    file(WRITE $ENV{DESTDIR}${FILE} "${TEXT}")
    file(CHMOD $ENV{DESTDIR}${FILE} PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
    list(APPEND CMAKE_INSTALL_MANIFEST_FILES ${FILE})
endforeach()
file(INSTALL DESTINATION ${ETC}/default TYPE FILE FILES ${SERVICES_SOURCE}/default/aico-broker
    ${SERVICES_SOURCE}/default/aico-backend)
