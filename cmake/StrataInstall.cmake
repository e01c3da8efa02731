# install() and the package: written with the first public headers.
