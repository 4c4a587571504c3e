// A header of a library that the misuse does not depend on.
#pragma once
